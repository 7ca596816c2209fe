"""What the commands cost that do no learning: processor time (user and system) of a fresh process.

python benchmarks/startup.py                 writes benchmarks/startup.json
python benchmarks/table.py                   writes its table into docs/get_started/command_line.md

Every command runs once uncounted, so that Python's compiled files are there, and then ``--repeats``
times; the medians are kept. The number of threads is left as it is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "startup.json"
# What each is allowed to take, in seconds.
LIMITS = {
    "import quickstudy": 0.3,
    "quickstudy --help": 0.4,
    "quickstudy classes MODEL": 1.0,
}


def processor_seconds(command: list[str]) -> float:
    """User and system time of a process and of those that it starts."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}.")
    return usage.ru_utime + usage.ru_stime


def commands(folder: Path) -> dict[str, list[str]]:
    """The commands by name, on a model and a gallery that are made in a folder."""
    import numpy as np

    from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel
    from quickstudy.gallery import Gallery

    x = np.random.default_rng(0).normal(size=(50, 64))
    classifier = FewShotClassifier("prototype").fit(x, [f"class {i % 10}" for i in range(50)])
    columns = tuple(f"column {i}" for i in range(64))
    model = FittedModel(classifier, Encoding("table", columns=columns)).save(folder / "model")
    place = folder / "gallery.db"
    with Gallery.create(place, encoder="random", dim=64) as gallery:
        for i in range(10):
            gallery.enrol(f"person {i}", x[i : i + 1], force=True)
    command = [sys.executable, "-m", "quickstudy"]
    return {
        "python, doing nothing": [sys.executable, "-c", "pass"],
        "import quickstudy": [sys.executable, "-c", "import quickstudy"],
        "quickstudy --help": [*command, "--help"],
        "quickstudy list": [*command, "list"],
        "quickstudy classes MODEL": [*command, "classes", str(model)],
        "quickstudy gallery list GALLERY": [*command, "gallery", "list", str(place)],
    }


def rows() -> list[str]:
    """The table, from the file."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))
    lines = ["| | processor time | aim |", "|---|---|---|"]
    for name, seconds in measured["seconds"].items():
        limit = f"{LIMITS[name]:g} s" if name in LIMITS else ""
        lines.append(f"| `{name}` | {statistics.median(seconds):.2f} s | {limit} |")
    about = measured["about"]
    return [
        *lines,
        "",
        f"Medians of {len(seconds)} processes, user and system time; Python "
        f"{about['versions']['python']}, {about['cores']} cores of {about['processor']}; commit "
        f"{about['commit']}.",
    ]


def main() -> None:
    """Measure and write."""
    import torch

    from quickstudy.bench.machine import about

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        found = commands(Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in found}
        for command in found.values():
            processor_seconds(command)
        for _ in range(repeats):
            for name, command in found.items():
                seconds[name].append(round(processor_seconds(command), 3))
    FILE.write_text(
        json.dumps({"about": about(torch.device("cpu"), []), "seconds": seconds}, indent=1) + "\n",
        encoding="utf-8",
    )
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
