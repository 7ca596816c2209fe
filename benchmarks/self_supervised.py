"""Are meta-learning and contrastive learning near each other when they see the same? Omniglot
without labels, and with.

python benchmarks/self_supervised.py                           all of it, writes
benchmarks/self_supervised.json after every training python benchmarks/self_supervised.py --steps 20
--tasks 50 --runs FOLDER --out FILE    a look at it

Three ways to learn without labels, on the same batches of 64 images, the same two views of each,
the same encoder and number of steps: prototypes and R2-D2 on contrastive tasks, and SimCLR. Beside
them prototypes with labels, on as many images per step, and the encoder before any training. All
encoders are scored by cosine prototypes on the same tasks of test characters, so any two are
compared in pairs; two trainings each, from other seeds.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from quickstudy.algorithms import ProtoNet
from quickstudy.core.learner import encoder_of
from quickstudy.core.rng import seed_everything
from quickstudy.core.setting import Setting
from quickstudy.data import ClassDataset, Episodes, encoded
from quickstudy.encoders import Identity
from quickstudy.evaluation import Report, commit, compare, evaluate
from quickstudy.recipes import is_trained, load_run, recipe_named, train_recipe

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "self_supervised.json"
WAYS = {
    "protonet": "prototypes, contrastive tasks",
    "r2d2": "R2-D2, contrastive tasks",
    "simclr": "SimCLR",
    "labels": "prototypes, with labels",
}
UNTRAINED = "before any training"
SETTINGS = {
    "5-way 1-shot": Setting(5, 1, 15),
    "20-way 1-shot": Setting(20, 1, 15),
    "5-way 5-shot": Setting(5, 5, 15),
}


def features(name: str, seed: int, steps: int, folder: Path) -> tuple[ClassDataset, float]:
    """The test characters by the encoder of a training, and how many seconds that took; what is in
    the folder is taken from there.
    """
    recipe = recipe_named(f"omniglot-self-{name}")
    recipe = replace(
        recipe, train=replace(recipe.train, seed=seed, steps=steps or recipe.train.steps)
    )
    place = folder / f"omniglot-self-{name}-{seed}"
    if not is_trained(place):
        run = train_recipe(recipe, place, resume=(place / "last.pt").exists(), device="cpu")
        if not run.result.finished:
            raise SystemExit("Stopped; nothing is lost. Go on with the same command.")
    run = load_run(place)
    return _encoded(encoder_of(run.learner)), run.result.seconds


def untrained() -> ClassDataset:
    """The test characters by an encoder with fresh weights, whose averages have seen some training
    tasks.
    """
    recipe = recipe_named("omniglot-self-labels")
    seed_everything("untrained")
    learner = recipe.build_learner().train()
    with torch.no_grad():
        for i in range(20):
            learner(recipe.training_tasks().batch([i]))
    return _encoded(encoder_of(learner.eval()))


def _encoded(encoder: Any) -> ClassDataset:
    tasks = recipe_named("omniglot-self-labels").build_data().tasks("test", Setting(5, 1, 1))
    assert isinstance(tasks, Episodes)
    return encoded(tasks.dataset, encoder)


def scored(data: ClassDataset, n_tasks: int) -> dict[str, Report]:
    """By cosine prototypes, in each setting."""
    learner = ProtoNet(Identity(data.x.shape[1]), similarity="cosine")
    return {
        title: evaluate(learner, Episodes(data, setting), n_tasks=n_tasks)
        for title, setting in SETTINGS.items()
    }


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    seeds = found["seeds"]
    head = "| trained as | labels | " + " | ".join(SETTINGS) + " | to SimCLR, 20-way 1-shot |"
    made = [head, "|---" * (len(SETTINGS) + 3) + "|"]
    for name, title in (*WAYS.items(), ("untrained", UNTRAINED)):
        trainings, cells = range(1 if name == "untrained" else seeds), list[str]()
        for setting in SETTINGS:
            cells.append(
                ", ".join(
                    _percent(found["scores"][f"{name}-{seed}"][setting]) for seed in trainings
                )
            )
        gaps = (
            ", ".join(_percent(found["to_simclr"][f"{name}-{seed}"], "+") for seed in trainings)
            if name != "simclr"
            else ""
        )
        made.append(
            f"| {title} | {'yes' if name == 'labels' else 'no'} | "
            + " | ".join(cells)
            + f" | {gaps} |"
        )
    seconds = found["seconds"].values()
    made += [
        "",
        f"Omniglot, Vinyals test characters, {found['n_tasks']:,} tasks, the same for all, by "
        f"cosine prototypes; one number for each of {seeds} trainings of "
        f"{found['steps']:,} steps ({min(seconds):.0f} to {max(seconds):.0f} s on one thread), ± "
        f"the 95 % interval over tasks; commit {found['commit']}.",
    ]
    return made


def _percent(value: list[float], sign: str = "") -> str:
    return f"{100 * value[0]:{sign}.2f} ± {100 * value[1]:.2f}"


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps", type=int, default=0, help="of each training; 0 = as the recipes say"
    )
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each kind")
    parser.add_argument("--tasks", type=int, default=1000, help="tasks of each score")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs", help="folder of the trained runs"
    )
    parser.add_argument("--out", type=Path, default=FILE, help="where the numbers go")
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps = args.steps or recipe_named("omniglot-self-simclr").train.steps
    found: dict[str, Any] = {
        "steps": steps,
        "seeds": args.seeds,
        "n_tasks": args.tasks,
        "scores": {},
        "to_simclr": {},
        "seconds": {},
    }
    for seed in range(args.seeds):
        reports: dict[str, dict[str, Report]] = {}
        for name in WAYS:
            began = time.perf_counter()
            data, seconds = features(name, seed, steps, args.runs)
            found["seconds"][f"{name}-{seed}"] = seconds
            reports[name] = scored(data, args.tasks)
            print(
                name,
                seed,
                f"{seconds:.0f} s of training, {time.perf_counter() - began:.0f} s in all",
                flush=True,
            )
        if not seed:
            reports["untrained"] = scored(untrained(), args.tasks)
        for name, of in reports.items():
            found["scores"][f"{name}-{seed}"] = {title: [r.mean, r.ci95] for title, r in of.items()}
            if name != "simclr":
                difference = compare(reports["simclr"]["20-way 1-shot"], of["20-way 1-shot"])
                found["to_simclr"][f"{name}-{seed}"] = [difference.difference, difference.ci95]
        args.out.write_text(
            json.dumps({**found, "commit": commit()}, indent=1) + "\n", encoding="utf-8"
        )
    print(json.dumps(found["scores"], indent=1))


if __name__ == "__main__":
    main()
