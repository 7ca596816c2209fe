"""On what, and with what, the numbers were taken."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from quickstudy.bench.ceiling import cores
from quickstudy.bench.entry import Entry
from quickstudy.core.errors import ConfigError
from quickstudy.evaluation import commit, versions


def device_named(name: str) -> torch.device:
    """The device to time on; "auto" is a GPU if there is one.

    Raises:
        ConfigError: for one that is not there, or that is not timed.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"The benchmark runs on --device auto, cpu or cuda, not on '{name}'.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("No CUDA device was found. Use --device cpu.")
    return torch.device(name)


def about(device: torch.device, entries: Iterable[Entry]) -> dict[str, Any]:
    """Processor, threads, the load of the last minute, versions and commit, as JSON."""
    packages = sorted({e.package for e in entries if e.package} | {"numba"})
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if sys.platform != "win32" else None,
        "system": platform.system(),
        "versions": {**versions(), **{p: _version(p) for p in packages}},
        "commit": commit(),
    }


def _processor() -> str:
    """Its name, with the numbers that tell models of one name apart where the system says them.

    Virtual machines call many processors by one name, such as "AMD EPYC".
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    first = text.partition("\n\n")[0].splitlines()
    known = {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)
    }
    name = known.get("model name") or platform.processor() or platform.machine()
    numbers = [
        f"{word} {known[key]}"
        for key, word in (("cpu family", "family"), ("model", "model"), ("stepping", "stepping"))
        if key in known
    ]
    return ", ".join([name, " ".join(numbers)]) if numbers else name


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
