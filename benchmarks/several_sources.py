"""Does training on several data sets help on one that was held out? ProtoNet with Conv4 of 32
filters on grey images of 28×28, the same number of training tasks from one source or from a mix of
them, scored on the same tasks of steel defects and of faces, which no training saw.

python benchmarks/several_sources.py                  what is not in the JSON yet
python benchmarks/several_sources.py omniglot --seed 0   this training alone
python benchmarks/several_sources.py --steps 20 --tasks 20 --out FILE   a look at it

A finished training is written at once, so the command can be stopped and repeated. The best single
source is chosen by the held-out scores themselves, which favours it against the mix.
"""

import argparse
import csv
import io
import json
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rendering import Column, Table, with_interval

import quickstudy as qs
from quickstudy.core.rng import seed_everything
from quickstudy.core.tasks import AbstractTasks
from quickstudy.data import (
    Episodes,
    Glyphs,
    ImageArrays,
    ImageFormat,
    Omniglot,
    SeveralTasks,
    read_folder,
)
from quickstudy.data.class_index import ClassDataset
from quickstudy.data.locations import data_root
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.training import Optimiser, Plan

FILE = Path(__file__).parent / "several_sources.json"
SINGLE = ("omniglot", "drawn characters", "photographs", "hand signs")
MIXES = ("omniglot+drawn characters+hand signs", "+".join(SINGLE))
TRAININGS = (*SINGLE, *MIXES)
SEEDS = (0, 1)
TRAINING = qs.Setting(n_way=5, n_shot=5, n_query=5)
EXAMS = {"5-shot": qs.Setting(5, 5, 5)}
HELD_OUT = ("steel defects", "faces")
_SIZE, _PER_CLASS = 28, 100


def source(name: str, seed: int) -> AbstractTasks:
    """The training tasks of one source."""
    if name == "omniglot":
        return Omniglot().tasks("train", TRAINING, seed=seed)
    if name == "drawn characters":
        return Glyphs().tasks("train", TRAINING, seed=seed)
    if name == "photographs":
        return Episodes(_photographs(), TRAINING, seed=seed)
    with _unpacked("sign-digits.zip", "sign-digits") as folder:
        data = read_folder(folder, ImageFormat(_SIZE, 1)).dataset
    return Episodes(data, TRAINING, seed=seed)


def _photographs() -> ClassDataset:
    """The 64 training classes of miniImageNet, the first 100 pictures of each, grey and small."""
    fmt = ImageFormat(_SIZE, 1)
    taken: Counter[str] = Counter()
    images, labels = [], []
    with zipfile.ZipFile(data_root() / "mini-imagenet.zip") as archive:
        for row in csv.DictReader(io.StringIO(archive.read("train.csv").decode())):
            if taken[row["label"]] == _PER_CLASS:
                continue
            taken[row["label"]] += 1
            file = f"images/{row['filename']}"
            images.append(fmt.decode(io.BytesIO(archive.read(file)), name=file))
            labels.append(row["label"])
    splits = {"train": sorted(taken)}
    return ImageArrays(torch.stack(images), labels, name="photographs", splits=splits).split(
        "train"
    )


def held_out(name: str, setting: qs.Setting) -> AbstractTasks:
    """Tasks that no training sees."""
    file, folder = {
        "steel defects": ("neu-steel-defects.zip", "neu-steel-defects"),
        "faces": ("orl-faces.zip", "orl-faces"),
    }[name]
    with _unpacked(file, folder) as root:
        return Episodes(read_folder(root, ImageFormat(_SIZE, 1)).dataset, setting, seed=0)


@contextmanager
def _unpacked(file: str, folder: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(data_root() / file) as archive:
            archive.extractall(scratch)
        yield Path(scratch) / folder


def train_and_score(name: str, seed: int, steps: int, n_tasks: int) -> dict[str, Any]:
    """One training, and its scores of every task of every exam."""
    parts = [source(part, seed) for part in name.split("+")]
    tasks = parts[0] if len(parts) == 1 else SeveralTasks(parts, [1.0] * len(parts), seed=seed)
    seed_everything("weights", seed)
    learner = qs.algorithms.ProtoNet(qs.encoders.Conv4(size=_SIZE, width=32, norm="support"))
    began = time.process_time()
    qs.train(
        learner,
        tasks,
        plan=Plan(steps=steps, tasks_per_step=2, seed=seed, validate_every=0),
        optimiser=Optimiser(lr=2e-3, schedule="one_cycle"),
    )
    seconds = time.process_time() - began
    scores = {}
    for held in HELD_OUT:
        for exam, setting in EXAMS.items():
            report = qs.evaluate(learner, held_out(held, setting), n_tasks=n_tasks)
            scores[f"{held}, {exam}"] = [round(s, 4) for s in report.scores]
            print(f"{name}, seed {seed}, {held}, {exam}: {report}", flush=True)
    return {
        "training": name,
        "seed": seed,
        "tasks": 2 * steps,
        "processor_seconds": round(seconds, 1),
        "commit": commit(),
        "versions": versions(),
        "scores": scores,
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each exam the means, the best single source, and each mix against it, paired by task:
    the score of a task is its mean over the seeds.
    """
    result = []
    for exam in rows[0]["scores"]:
        of = {
            name: np.mean([r["scores"][exam] for r in rows if r["training"] == name], axis=0)
            for name in dict.fromkeys(r["training"] for r in rows)
        }
        singles = [n for n in of if n in SINGLE]
        if not singles:
            continue
        best = max(singles, key=lambda n: of[n].mean())
        mixes = {}
        for name in (n for n in of if n in MIXES):
            difference, half = mean_ci95(of[name] - of[best])
            mixes[name] = {"difference": round(difference, 4), "ci95": round(half, 4)}
        result.append(
            {
                "exam": exam,
                "means": {n: [round(v, 4) for v in mean_ci95(s)] for n, s in of.items()},
                "best single source": best,
                "mix minus best": mixes,
            }
        )
    return result


def rows_in(file: Path) -> list[dict[str, Any]]:
    """What was measured before."""
    return json.loads(file.read_text())["rows"] if file.exists() else []


def rows() -> list[str]:
    """The table, from the file."""
    content = json.loads(FILE.read_text())
    measured, exams = content["rows"], content["summary"]
    gaps = {
        exam["exam"]: {
            name: f", {100 * gap['difference']:+.1f} ± {100 * gap['ci95']:.1f}"
            for name, gap in exam["mix minus best"].items()
        }
        for exam in exams
    }
    columns = (
        Column("trained on", lambda name: name.replace("+", " + ")),
        *(
            Column(
                f"held out: {exam['exam']}",
                lambda name, exam=exam: (
                    with_interval(exam["means"][name]) + gaps[exam["exam"]].get(name, "")
                ),
            )
            for exam in exams
        ),
    )
    seeds, commits = ({str(r[key]) for r in measured} for key in ("seed", "commit"))
    note = (
        f"Accuracies in %, means of {len(seeds)} trainings of {measured[0]['tasks']} tasks each; "
        "of a mix also its difference from the best single source, with the 95 % interval, paired "
        f"by task. Commit {', '.join(sorted(commits))}."
    )
    return Table(columns, TRAININGS, (note,)).lines()


def main() -> None:
    """Train what is missing, and write the summary."""
    parser = argparse.ArgumentParser(description="One source of training tasks against several.")
    parser.add_argument("names", nargs="*", choices=[*TRAININGS, []])
    parser.add_argument("--seed", type=int, choices=SEEDS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=150)
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for seed in SEEDS if asked.seed is None else (asked.seed,):
        for name in asked.names or TRAININGS:
            if any((r["training"], r["seed"]) == (name, seed) for r in rows_in(asked.out)):
                continue
            row = train_and_score(name, seed, asked.steps, asked.tasks)
            rows = [*rows_in(asked.out), row]  # another process may have written meanwhile
            content = {"summary": summary(rows), "rows": rows}
            asked.out.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
