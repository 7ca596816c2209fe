"""The most memory that a step takes, each in a fresh process, so that no measurement starts with
the memory of another.

python -m quickstudy.bench.peak_memory '{"entry": …, "workload": …, "device": …}'   prints the bytes
"""

import contextlib
import ctypes
import gc
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import torch

from quickstudy.bench.apart import last_words
from quickstudy.bench.entry import Entry, Job
from quickstudy.bench.ours import OURS
from quickstudy.bench.peers import PEERS
from quickstudy.bench.timing import synchronise
from quickstudy.bench.workloads import Workload
from quickstudy.core.errors import TrainingError

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
INNER_STEPS = 20
WORKLOADS_MEASURED = ("W1", "W5")
# An array library with an allocator of its own cannot be measured from outside.
_MEASURED = (
    "quickstudy",
    "quickstudy-torch",
    "quickstudy-recompute",
    "quickstudy-recorded",
    "plain",
    "torchopt",
    "higher",
)


def one_task(workload: Workload) -> Workload:
    """The workload as its memory is compared: one task in flight, many inner steps."""
    return workload.changed(n_tasks=1, inner_steps=INNER_STEPS)


def is_measured(entry: Entry) -> bool:
    """Whether an entry's memory is comparable."""
    return entry.name in _MEASURED


def peak_bytes(entry: Entry, workload: Workload, device: torch.device) -> int:
    """The bytes that one step takes at its peak, beyond what was there before it; measured in a
    process of its own.

    Raises:
        TrainingError: when that process fails, with its last line.
    """
    request = json.dumps(
        {"entry": entry.name, "workload": workload.to_json(), "device": str(device)}
    )
    done = subprocess.run(
        [sys.executable, "-m", "quickstudy.bench.peak_memory", request],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise TrainingError(
            f"The memory of {entry.name} on {workload.name} could not be measured: "
            f"{last_words(done.stderr)}"
        )
    return int(done.stdout.splitlines()[-1])


def peak_here(entry: Entry, workload: Workload, device: torch.device) -> int:
    """The same, measured in this process."""
    # Libraries load and kernels compile in a first, short step, which is not what is measured.
    with Job.of(workload.changed(inner_steps=min(1, workload.inner_steps)), device) as job:
        entry.step(job)()
    with Job.of(workload, device) as job:
        step = entry.step(job)
        _give_back()
        if device.type == "cuda":
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            step()
            synchronise(device)
            return torch.cuda.max_memory_allocated(device) - before
        with contextlib.suppress(OSError):
            _RESET.write_text("5")
        before = _resident("VmRSS")
        step()
        return max(0, _resident("VmHWM") - before)


def _give_back() -> None:
    """Return freed memory to the system, so that it is not used again unseen."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _resident(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (at most); where there is no /proc, the most there ever was."""
    match = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text()) if _STATUS.exists() else None
    if match:
        return 1024 * int(match[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


if __name__ == "__main__":
    about = json.loads(sys.argv[1])
    chosen = {**OURS, **PEERS}[about["entry"]]
    print(peak_here(chosen, Workload.from_json(about["workload"]), torch.device(about["device"])))
