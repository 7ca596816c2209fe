"""Asked before it is told: MANN and a plain LSTM on Omniglot, by the protocol of Santoro et al. 2016 (5 classes of 10 examples, in one random order).

python benchmarks/instances.py --run runs/omniglot-matching                       all, writes benchmarks/instances/*.json
python benchmarks/instances.py --run RUN --steps 5 --tasks 20 --out FOLDER        a look at it

Each drawing is encoded once by the encoder of a trained run, so that a step costs the reading alone and there can be many; the readers are trained on the training
and validation characters of the same split, and scored on test characters: by instance, and as learners of 5-way 1-shot tasks without further training.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from quickstudy.algorithms import ALGORITHMS
from quickstudy.analysis import instance_accuracy, write_report
from quickstudy.core.learner import encoder_of
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import seed_everything
from quickstudy.core.tasks import Setting
from quickstudy.data import ClassDataset, Episodes, Omniglot, encoded
from quickstudy.encoders import Identity
from quickstudy.evaluation import commit, evaluate
from quickstudy.objectives import Online
from quickstudy.recipes import load_run
from quickstudy.training import Optimiser, Plan, train

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks" / "instances"
READERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mann": ("mann", {}),
    "mann-as-written": ("mann", {"strength": 1.0}),  # without a strength of the keys, as the paper has it
    "mann-bare": ("mann", {"normalise": False}),  # on features as they are
    "lstm": ("lstm", {}),
}
SETTING = Setting(n_way=5, n_shot=1, n_query=9)
PLAN = Plan(steps=6_000, tasks_per_step=16, validate_every=0, clip_norm=10.0, chunk=16, workers=1)


def features(run: str) -> dict[str, ClassDataset]:
    """The vectors of each split's drawings."""
    encoder = encoder_of(load_run(run).learner)
    return {split: encoded(Omniglot().split(split), encoder) for split in ("trainval", "test")}


def measured(name: str, data: dict[str, ClassDataset], plan: Plan, n_tasks: int, out: Path, about: dict[str, Any]) -> None:
    """Train one reader, score it, write what came of it."""
    seed_everything("weights")
    algorithm, options = READERS[name]
    learner = ALGORITHMS[algorithm](Identity(data["test"].x.shape[1]), n_out=SETTING.n_way, **options)
    result = train(
        MetaStep(learner, Online()), Episodes(data["trainval"], SETTING), plan=plan, optimiser=Optimiser(lr=1e-3, schedule="cosine")
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


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="the folder of a run on Omniglot, whose encoder sees the drawings")
    parser.add_argument("--only", choices=tuple(READERS), help="one of them")
    parser.add_argument("--steps", type=int, default=PLAN.steps, help="of each training, 16 sequences each")
    parser.add_argument("--tasks", type=int, default=1000, help="test sequences")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the numbers go")
    args = parser.parse_args()
    data = features(args.run)
    for name in (args.only,) if args.only else READERS:
        measured(name, data, replace(PLAN, steps=args.steps), args.tasks, args.out, {"run": Path(args.run).name})


if __name__ == "__main__":
    main()
