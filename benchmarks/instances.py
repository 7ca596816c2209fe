"""Asked before it is told: MANN and a plain LSTM on Omniglot, by the protocol of Santoro et al.
2016 (5 classes of 10 examples, in one random order).

python benchmarks/instances.py --run runs/omniglot-matching                       all, writes
benchmarks/instances/*.json python benchmarks/instances.py --run RUN --steps 5 --tasks 20 --out
FOLDER        a look at it

Each drawing is encoded once by the encoder of a trained run, so that a step costs the reading alone
and there can be many; the readers are trained on the training and validation characters of the same
split, and scored on test characters: by instance, and as learners of 5-way 1-shot tasks without
further training.

The rows from pixels are what these wrote, copied to benchmarks/instances and benchmarks/results:
quickstudy train omniglot-mann; quickstudy train omniglot-lstm; quickstudy train omniglot-mann --set
learner.normalise=false --out runs/omniglot-mann-bare; quickstudy analyse instances RUN, for each
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstudy.algorithms import ALGORITHMS
from quickstudy.analysis import instance_accuracy, write_report
from quickstudy.core.learner import encoder_of
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import seed_everything
from quickstudy.core.setting import Setting
from quickstudy.data import ClassDataset, Episodes, Omniglot, encoded
from quickstudy.encoders import Identity
from quickstudy.evaluation import commit, evaluate
from quickstudy.objectives import Online
from quickstudy.recipes import load_run
from quickstudy.training import Optimiser, Plan, train

ROOT = Path(__file__).parent.parent
FOLDER, RESULTS = ROOT / "benchmarks" / "instances", ROOT / "benchmarks" / "results"
RECIPES = {  # with an encoder that is learned along: the label, and the report of 5-way 1-shot
    "omniglot-mann": ("`omniglot-mann`", RESULTS / "omniglot-mann" / "5w1s15q.json"),
    "omniglot-mann-bare": (
        "`omniglot-mann`, `normalise=False`",
        FOLDER / "omniglot-mann-bare-5w1s15q.json",
    ),
    "omniglot-lstm": ("`omniglot-lstm`", RESULTS / "omniglot-lstm" / "5w1s15q.json"),
}
SANTORO = {
    "mann": (36.4, 82.8, 91.0, 92.6, 94.9, 98.1),
    "lstm": (24.4, 49.5, 55.3, 61.0, 63.6, 62.5),
}
"""Santoro et al. 2016, table 1, for these examples of a class."""
SHOWN = (1, 2, 3, 4, 5, 10)
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mann": ("mann", {}),
    "mann-as-written": (
        "mann",
        {"strength": 1.0},
    ),  # without a strength of the keys, as the paper has it
    "mann-bare": ("mann", {"normalise": False}),  # on features as they are
    "lstm": ("lstm", {}),
}
SETTING = Setting(n_way=5, n_shot=1, n_query=9)
PLAN = Plan(steps=6_000, tasks_per_step=16, validate_every=0, clip_norm=10.0, chunk=16, workers=1)


def features(run: str) -> dict[str, ClassDataset]:
    """The vectors of each split's drawings."""
    encoder = encoder_of(load_run(run).learner)
    return {split: encoded(Omniglot().split(split), encoder) for split in ("trainval", "test")}


def measured(
    name: str,
    data: dict[str, ClassDataset],
    plan: Plan,
    n_tasks: int,
    out: Path,
    about: dict[str, Any],
) -> None:
    """Train one reader, score it, write what came of it."""
    seed_everything("weights")
    algorithm, options = READERS[name]
    learner = ALGORITHMS[algorithm](
        Identity(data["test"].x.shape[1]), n_out=SETTING.n_way, **options
    )
    result = train(
        MetaStep(learner, Online()),
        Episodes(data["trainval"], SETTING),
        plan=plan,
        optimiser=Optimiser(lr=1e-3, schedule="cosine"),
    )
    report = instance_accuracy(learner, Episodes(data["test"], SETTING), n_tasks=n_tasks)
    shot = evaluate(learner, Episodes(data["test"], Setting(5, 1, 15)), n_tasks=n_tasks)
    told = {
        "algorithm": algorithm,
        "options": options,
        "5-way 1-shot": [shot.mean, shot.ci95],
        "train_tasks": result.tasks,
        "train_seconds": round(result.seconds, 1),
        "commit": commit(),
        **about,
    }
    write_report(report, out / f"{name}.json", about=told)
    print(name, told, report.rows(), flush=True)


def rows() -> list[str]:
    """The table, from the files; those of recipes are what `quickstudy train` and
    `quickstudy analyse instances` wrote.
    """
    made = [
        "| example of a class | " + " | ".join(map(str, SHOWN)) + " | 5-way 1-shot | trained in |",
        "|---|" + "---|" * (len(SHOWN) + 2),
    ]
    for name, (algorithm, options) in READERS.items():
        label = ", ".join((f"`{algorithm}`", *(f"`{k}={v}`" for k, v in options.items())))
        found = _read(FOLDER / f"{name}.json")
        mean, ci95 = found["5-way 1-shot"]
        made.append(_row(label, found, mean, ci95, found["train_seconds"]))
    for name, (label, report) in RECIPES.items():
        found, trained = _read(FOLDER / f"{name}.json"), _read(report)
        made.append(
            _row(
                f"{label}, from pixels",
                found,
                trained["mean"],
                trained["ci95"],
                trained["train_seconds"],
            )
        )
    made += [
        f"| `{name}`, published | " + " | ".join(map(str, numbers)) + " | | |"
        for name, numbers in SANTORO.items()
    ]
    some, pixels = _read(FOLDER / "mann.json"), _read(FOLDER / "omniglot-mann.json")
    note = (
        f"Omniglot, {some['n_way']} classes of {len(some['means'])} examples, {some['n_tasks']:,} "
        f"sequences of test characters; trained on {some['train_tasks']:,} sequences on one core, "
        f"those from pixels on {pixels['train_tasks']:,}; the paper has 1,600,000, from pixels. "
        f"The others read the features of the run `{some['run']}`; commit {some['commit']}. The "
        "column "
        "5-way 1-shot is the same network as a learner: it reads five examples and their labels, "
        "then a query, and was not trained for that."
    )
    return [*made, "", note]


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _row(label: str, found: dict[str, Any], mean: float, ci95: float, seconds: float) -> str:
    cells = (f"{100 * found['means'][k - 1]:.1f} ± {100 * found['ci95'][k - 1]:.1f}" for k in SHOWN)
    return (
        f"| {label} | "
        + " | ".join(cells)
        + f" | {100 * mean:.1f} ± {100 * ci95:.1f} | {seconds / 60:.0f} min |"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run",
        required=True,
        help="the folder of a run on Omniglot, whose encoder sees the drawings",
    )
    parser.add_argument("--only", choices=tuple(READERS), help="one of them")
    parser.add_argument(
        "--steps", type=int, default=PLAN.steps, help="of each training, 16 sequences each"
    )
    parser.add_argument("--tasks", type=int, default=1000, help="test sequences")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the numbers go")
    args = parser.parse_args()
    data = features(args.run)
    for name in (args.only,) if args.only else READERS:
        measured(
            name,
            data,
            replace(PLAN, steps=args.steps),
            args.tasks,
            args.out,
            {"run": Path(args.run).name},
        )


if __name__ == "__main__":
    main()
