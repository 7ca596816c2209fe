"""What the commands cost that do no learning, and what `fit` and a question cost: processor time
(user and system) of a fresh process, and of one question to a running one.

python benchmarks/startup.py                 writes benchmarks/startup.json
python benchmarks/startup.py --only fit      measures those whose name holds a word, keeps others
python benchmarks/table.py                   writes its table into docs/get_started/command_line.md

Every command runs once uncounted, so that Python's compiled files are there, and then ``--repeats``
times; the medians are kept. The number of threads is left as it is. The photographs are steel
defects and ORL faces, from the folder that QUICKSTUDY_DATA names.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "startup.json"
# What each is allowed to take, in seconds.
LIMITS = {
    "import quickstudy": 0.3,
    "quickstudy --help": 0.4,
    "quickstudy classes MODEL": 1.0,
    "quickstudy fit, iris.csv": 5.0,
    "1,000 rows asked of the model of iris.csv in a running process": 1.0,
    "quickstudy fit, 30 photographs": 6.0,
    "quickstudy fit, 30 photographs, with unknowns": 6.0,
    "one face asked of a gallery in a running process": 0.3,
}
_QUESTIONS = 20


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
        "quickstudy fit, iris.csv": [
            *command,
            "fit",
            str(iris(folder)),
            "--force",
            "-o",
            str(folder / "iris"),
        ],
        **fits(folder, command),
    }


def fits(folder: Path, command: list[str]) -> dict[str, list[str]]:
    """`fit` on five photographs of each of six kinds of steel defects, nothing in the cache, and
    the same with a cohort of 40 faces.
    """
    steel = unpacked("neu-steel-defects", folder / "steel", kinds=6, each=5)
    faces = unpacked("orl-faces", folder / "faces", kinds=40, each=1)
    fit = [*command, "fit", str(steel), "--no-cache", "--force", "-o", str(folder / "fitted")]
    unknowns = ["--false-accept-rate", "0.05", "--cohort", str(faces)]
    return {
        "quickstudy fit, 30 photographs": fit,
        "quickstudy fit, 30 photographs, with unknowns": [*fit, *unknowns],
    }


def iris(folder: Path) -> Path:
    """The table of 150 flowers that comes with scikit-learn, as a file."""
    from sklearn.datasets import load_iris

    flowers = load_iris()
    file = folder / "iris.csv"
    head = ",".join((*flowers.feature_names, "label"))
    names = flowers.target_names[flowers.target]
    lines = [",".join((*map(str, x), name)) for x, name in zip(flowers.data, names, strict=True)]
    file.write_text("\n".join((head, *lines)) + "\n", encoding="utf-8")
    return file


def row_seconds(folder: Path, repeats: int) -> list[float]:
    """Processor time of predicting 1,000 rows, after the first time."""
    import time

    import numpy as np

    from quickstudy.estimators import fit_table

    file = iris(folder)
    model = fit_table(file)
    table = np.loadtxt(file, delimiter=",", skiprows=1, usecols=range(4))
    x = np.resize(table, (1000, 4))
    seconds = []
    for _ in range(repeats + 1):
        began = time.process_time()
        model.predict(x)
        seconds.append(round(time.process_time() - began, 3))
    return seconds[1:]


def unpacked(archive: str, folder: Path, *, kinds: int, each: int) -> Path:
    """Some photographs of an archive, one sub-folder per kind."""
    from quickstudy.data.locations import data_root

    with zipfile.ZipFile(data_root() / f"{archive}.zip") as z:
        names = sorted(n for n in z.namelist() if n.lower().endswith((".png", ".jpg")))
        for kind in sorted({n.split("/")[-2] for n in names})[:kinds]:
            for name in [n for n in names if n.split("/")[-2] == kind][:each]:
                file = folder / kind / name.split("/")[-1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(z.read(name))
    return folder


def question_seconds(folder: Path) -> list[float]:
    """Processor time of finding, encoding and looking up one face, after the first."""
    import time

    from quickstudy.gallery import Gallery
    from quickstudy.pretrained import open_encoder

    people = unpacked("orl-faces", folder / "people", kinds=20, each=2)
    encoder = open_encoder("faces")
    with Gallery.create(
        folder / "faces.db", encoder=encoder.key, dim=encoder.dim, source="faces"
    ) as gallery:
        photographs = sorted(people.rglob("*.png"))
        for file in photographs[::2]:
            vectors = encoder.encode([encoder.read(file)])
            gallery.enrol(file.parent.name, vectors, force=True)
        seconds = []
        for file in photographs[1::2][:_QUESTIONS]:
            began = time.process_time()
            gallery.identify(encoder.encode([encoder.read(file)]))
            seconds.append(round(time.process_time() - began, 3))
    return seconds[1:]


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
        f"Medians of {len(measured['seconds']['import quickstudy'])} processes, of fits and "
        "questions as many as there are in benchmarks/startup.json; user and system time; Python "
        f"{about['versions']['python']}, {about['cores']} cores of {about['processor']}; commit "
        f"{about['commit']}.",
    ]


def main() -> None:
    """Measure and write."""
    import torch

    from quickstudy.bench.machine import about

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", default="", help="only those whose name holds this word")
    args = parser.parse_args()
    asked = "one face asked of a gallery in a running process"
    many = "1,000 rows asked of the model of iris.csv in a running process"
    with tempfile.TemporaryDirectory() as folder:
        chosen = {n: c for n, c in commands(Path(folder)).items() if args.only in n}
        seconds: dict[str, list[float]] = {name: [] for name in chosen}
        for command in chosen.values():
            processor_seconds(command)
        for _ in range(args.repeats):
            for name, command in chosen.items():
                seconds[name].append(round(processor_seconds(command), 3))
        if args.only in asked:
            seconds[asked] = question_seconds(Path(folder))
        if args.only in many:
            seconds[many] = row_seconds(Path(folder), args.repeats)
    found = {"about": about(torch.device("cpu"), []), "seconds": seconds}
    if args.only:
        added = found
        found = json.loads(FILE.read_text(encoding="utf-8"))
        found["seconds"] |= seconds
        # What was measured later than the rest, at which commit.
        found.setdefault("later", {}).update(dict.fromkeys(seconds, added["about"]["commit"]))
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows()))


if __name__ == "__main__":
    main()
