"""Semi-supervised prototypes on Omniglot: train what is missing, score all on the same tasks, with
and without distractors.

python benchmarks/semi_supervised.py                           all of it, writes
benchmarks/semi_supervised.json python benchmarks/semi_supervised.py --steps 30 --tasks 50 --runs
FOLDER --out FILE    a look at it

Every learner answers the same queries, so any two are compared in pairs. The tasks are those of the
paper: 5-way 1-shot, 5 unlabelled examples per class, and, as distractors, as many of 5 other
classes; 14 queries per class. Below: the same with other numbers of unlabelled examples, 5 queries
per class.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from quickstudy.core.setting import Setting
from quickstudy.evaluation import Report, commit, compare
from quickstudy.recipes import (
    Evaluation,
    Run,
    is_trained,
    load_run,
    recipe_named,
    train_recipe,
)
from quickstudy.recipes.semi_supervised import BARE, CLEAN, DISTRACTORS, NAMES

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "semi_supervised.json"
SUPERVISED, REFINED = "supervised", "supervised, soft at test"
COUNTS = (1, 2, 5, 10, 14)


def runs(folder: Path, steps: int) -> dict[str, Run]:
    """Every recipe trained; those that are in the folder are taken from there."""
    made = {}
    for name in (SUPERVISED, *NAMES):
        place, recipe = folder / f"omniglot-semi-{name}", recipe_named(f"omniglot-semi-{name}")
        if steps:
            recipe = replace(recipe, train=replace(recipe.train, steps=steps))
        if not is_trained(place):
            run = train_recipe(recipe, place, resume=(place / "last.pt").exists(), device="cpu")
            if not run.result.finished:
                raise SystemExit("Stopped; nothing is lost. Go on with the same command.")
            print("trained", name, flush=True)
        made[name] = load_run(place)
    return made


def scored(trained: dict[str, Run], n_tasks: int) -> dict[str, dict[str, Report]]:
    """Each learner in each setting."""

    def report(run: str, setting: Setting, learner: str = "") -> Report:
        return trained[run].evaluate(Evaluation(setting, n_tasks=n_tasks, learner=learner))

    bare = report(SUPERVISED, BARE)
    out = {SUPERVISED: {"clean": bare, "distractors": bare}}  # it looks at no unlabelled example
    out[REFINED] = {
        key: report(SUPERVISED, s, "semi_soft")
        for key, s in (("clean", CLEAN), ("distractors", DISTRACTORS))
    }
    for name in NAMES:
        out[name] = {"clean": report(name, CLEAN), "distractors": report(name, DISTRACTORS)}
    return out


def by_number(trained: dict[str, Run], n_tasks: int) -> dict[str, dict[str, list[float]]]:
    """Accuracy and interval by how many unlabelled examples of each class there are, with
    distractors in as many classes.
    """
    out: dict[str, dict[str, list[float]]] = {}
    for name in NAMES:
        if name.endswith("-distractors"):
            reports = {
                n: trained[name].evaluate(Evaluation(Setting(5, 1, 5, n, 5), n_tasks=n_tasks))
                for n in COUNTS
            }
            out[name] = {str(n): [r.mean, r.ci95] for n, r in reports.items()}
    return out


def gap(a: Report, b: Report) -> list[float]:
    """How much better ``b`` is, task by task, and the interval."""
    found = compare(a, b)
    return [found.difference, found.ci95]


def measured(trained: dict[str, Run], n_tasks: int) -> dict[str, Any]:
    """All numbers."""
    reports = scored(trained, n_tasks)
    table: dict[str, Any] = {}
    for name, of in reports.items():
        run = trained[SUPERVISED if name == REFINED else name]
        table[name] = {key: [r.mean, r.ci95] for key, r in of.items()}
        table[name] |= {f"{key}_gain": gap(reports[SUPERVISED][key], r) for key, r in of.items()}
        published = next(
            (e.published for e in run.recipe.evaluations if e.published and name != REFINED), None
        )
        table[name] |= {
            "published": published,
            "train_tasks": run.result.tasks,
            "train_seconds": run.result.seconds,
        }
    return {
        "n_tasks": n_tasks,
        "learners": table,
        "soft_over_supervised": gap(reports[SUPERVISED]["clean"], reports["soft"]["clean"]),
        "masked_over_soft_with_distractors": gap(
            reports["soft-distractors"]["distractors"], reports["masked-distractors"]["distractors"]
        ),
        "by_number": by_number(trained, n_tasks),
    }


def rows() -> list[str]:
    """The tables, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    made = [
        "| learner | 5 unlabelled per class | over supervised | 5 distractor classes too | over "
        "supervised | published, without distractors |",
        "|---|---|---|---|---|---|",
    ]
    for name, e in found["learners"].items():
        title = name.replace("-distractors", ", trained with distractors")
        gains = [
            "" if name == SUPERVISED else _percent(e[f"{key}_gain"], "+")
            for key in ("clean", "distractors")
        ]
        published = "" if e["published"] is None else f"{100 * e['published']:.2f}"
        made.append(
            f"| {title} | {_percent(e['clean'])} | {gains[0]} | {_percent(e['distractors'])} | "
            f"{gains[1]} | {published} |"
        )
    seconds = [e["train_seconds"] for name, e in found["learners"].items() if name != REFINED]
    made += [
        "",
        f"Omniglot, 5-way 1-shot, 14 queries per class, the same {found['n_tasks']:,} tasks for "
        f"all; each trained on {found['learners']['soft']['train_tasks']:,} tasks in "
        f"{min(seconds):.0f} to {max(seconds):.0f} s on one core. In pairs: soft k-means over "
        f"supervised {_percent(found['soft_over_supervised'], '+')} points; "
        "trained and tested with distractors, masked over soft "
        f"{_percent(found['masked_over_soft_with_distractors'], '+')}; commit {found['commit']}.",
        "",
        "| trained with distractors, tested with 5 such classes | "
        + " | ".join(f"{n} unlabelled per class" for n in COUNTS)
        + " |",
        "|---|" + "---|" * len(COUNTS),
    ]
    for name, e in found["by_number"].items():
        made.append(
            f"| {name.removesuffix('-distractors')} | "
            + " | ".join(_percent(e[str(n)]) for n in COUNTS)
            + " |"
        )
    return made


def _percent(value: list[float], sign: str = "") -> str:
    return f"{100 * value[0]:{sign}.2f} ± {100 * value[1]:.2f}"


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps", type=int, default=0, help="of each training; 0 = as the recipes say"
    )
    parser.add_argument("--tasks", type=int, default=2000, help="tasks of each score")
    parser.add_argument(
        "--runs", type=Path, default=ROOT / "runs", help="folder of the trained runs"
    )
    parser.add_argument("--out", type=Path, default=FILE, help="where the numbers go")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    found = measured(runs(args.runs, args.steps), args.tasks)
    found |= {"seconds": time.perf_counter() - began, "commit": commit()}
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
