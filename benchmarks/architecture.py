"""Is the search worth it? Cells found by T-NAS, by MetaNAS and by prototypical networks on the
mixture, ten cells drawn at random, and the fixed network, all trained alike.

python benchmarks/architecture.py                                                     all of it,
writes benchmarks/architecture.json and docs/images/architecture.png
python benchmarks/architecture.py --steps 2 --random 2 --tasks 10 --out FILE --plot FILE   a look

On Omniglot, 5-way 1-shot. Each search ends in one cell: the mean of the mixture's weights after
adaptation to validation tasks, decoded. That cell, the random ones (as many nodes and edges,
sources and operations drawn evenly) and Conv4 are trained from fresh weights as prototypical
networks on the same tasks, and scored on the same test tasks.
Runs lie in runs/architecture and are not trained again where they are finished.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.algorithms.architecture.decode import random_cell
from quickstudy.analysis import architecture
from quickstudy.core.learner import parameter_count
from quickstudy.core.saving import holds
from quickstudy.evaluation import Report, commit
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.recipes import (
    Recipe,
    Run,
    cell_recipe,
    conv4_recipe,
    is_trained,
    load_run,
    recipe_named,
    train_recipe,
)

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "architecture.json"
PICTURE = ROOT / "docs" / "images" / "architecture.png"
RUNS = ROOT / "runs" / "architecture"
SEARCHES = {
    "omniglot-t-nas": "T-NAS",
    "omniglot-meta-nas": "MetaNAS",
    "omniglot-proto-nas": "prototypes on the mixture",
}
DRAWN = "omniglot-proto-nas"
WIDTH = 32  # of Conv4: the nearest usual width to the cells' number of weights


def trained(recipe: Recipe, folder: Path, steps: int) -> Run:
    """The run, finished now or before."""
    if steps:
        recipe = replace(recipe, train=replace(recipe.train, steps=steps))
    if is_trained(folder):
        return load_run(folder)
    return train_recipe(recipe, folder, resume=holds(folder, "run"))


def scored(recipe: Recipe, folder: Path, steps: int, n_tasks: int) -> tuple[dict[str, Any], Report]:
    """What a network comes to when it is trained by itself."""
    run = trained(recipe, folder, steps)
    report = run.evaluate(replace(recipe.evaluations[0], n_tasks=n_tasks))
    told = {
        "accuracy": [report.mean, report.ci95],
        "parameters": parameter_count(run.learner),
        "seconds": round(run.result.seconds, 1),
    }
    print(folder.name, told, flush=True)
    return told, report


def measured(runs: Path, *, steps: int, n_random: int, n_tasks: int, plot: Path) -> dict[str, Any]:
    """Everything."""
    found: dict[str, Any] = {"searches": {}, "random": [], "n_tasks": n_tasks}
    others = []
    for seed in range(n_random):
        edges = random_cell(3, seed=seed)
        told, report = scored(cell_recipe(edges), runs / f"random-{seed}", steps, n_tasks)
        found["random"].append({"edges": edges, **told})
        others.append(report.scores)
    told, _ = scored(conv4_recipe(WIDTH), runs / "conv4", steps, n_tasks)
    found["conv4"] = told
    reports = {}
    for name in SEARCHES:
        run = trained(recipe_named(name), runs / name, steps)
        recipe = run.recipe
        report = architecture(
            run.learner, recipe.build_data().tasks("val", recipe.validation), n_tasks=50
        )
        if name == DRAWN:
            report.draw(plot, title="The cell that prototypes on the mixture come to")
        told, reports[name] = scored(
            cell_recipe(report.edges), runs / f"{name}-cell", steps, n_tasks
        )
        found["searches"][name] = {
            "edges": report.edges,
            "agreement": report.agreement,
            "search_seconds": round(run.result.seconds, 1),
            **told,
        }
    cells = np.asarray([r["accuracy"][0] for r in found["random"]])
    found["random_mean"] = list(mean_ci95(cells))  # over cells
    for name, report in reports.items():
        # On the same tasks: what the cell gains over the mean of the random ones. Two intervals:
        # over tasks, and over cells.
        gain, over_tasks = mean_ci95(np.asarray(report.scores) - np.asarray(others).mean(0))
        found["searches"][name]["gain"] = {
            "mean": gain,
            "ci95_tasks": over_tasks,
            "ci95_cells": found["random_mean"][1],
        }
    return found


def rows() -> list[str]:
    """The table, from the file."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    made = [
        "| network | accuracy (95 % interval) | weights | trained in | searched in | gain over the "
        "mean random cell |",
        "|---|---|---|---|---|---|",
    ]
    for name, label in SEARCHES.items():
        s = found["searches"][name]
        gain = f"{100 * s['gain']['mean']:+.2f} ± {100 * s['gain']['ci95_cells']:.2f}"
        made.append(
            f"| cell of {label} | {_percent(s['accuracy'])} | {s['parameters']:,} | "
            f"{s['seconds']:.0f} s | {s['search_seconds']:.0f} s | {gain} |"
        )
    random = found["random"]
    sizes, seconds = [r["parameters"] for r in random], [r["seconds"] for r in random]
    best = max(random, key=lambda r: r["accuracy"][0])
    made.append(
        f"| mean of {len(random)} random cells | {_percent(found['random_mean'])} | {min(sizes):,} "
        f"to {max(sizes):,} | {np.mean(seconds):.0f} s | | |"
    )
    made.append(
        f"| the best of them | {_percent(best['accuracy'])} | {best['parameters']:,} | "
        f"{best['seconds']:.0f} s | | |"
    )
    c = found["conv4"]
    made.append(
        f"| Conv4, {WIDTH} filters | {_percent(c['accuracy'])} | {c['parameters']:,} | "
        f"{c['seconds']:.0f} s | | |"
    )
    cells = "; ".join(
        f"of {label}: "
        + ", ".join(f"{i} → {j} {name}" for i, j, name in found["searches"][search]["edges"])
        for search, label in SEARCHES.items()
    )
    return [
        *made,
        "",
        f"Omniglot, 5-way 1-shot, {found['n_tasks']:,} tasks; the interval of the mean and of the "
        f"gain is over cells. {found['minutes']:.0f} minutes of training in all, one core of two; "
        f"commit {found['commit']}. Cells {cells}.",
    ]


def _percent(value: list[float]) -> str:
    return f"{100 * value[0]:.2f} ± {100 * value[1]:.2f}"


def main() -> None:
    """Search, train, score, draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--steps", type=int, default=0, help="outer steps of every training; 0 = as the recipes say"
    )
    parser.add_argument("--random", type=int, default=10, help="random cells")
    parser.add_argument("--tasks", type=int, default=1000, help="test tasks")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the trainings lie")
    parser.add_argument("--out", type=Path, default=FILE, help="where the numbers go")
    parser.add_argument("--plot", type=Path, default=PICTURE, help="where the picture goes")
    args = parser.parse_args()
    found = measured(
        args.runs, steps=args.steps, n_random=args.random, n_tasks=args.tasks, plot=args.plot
    )
    spent = [*found["random"], *found["searches"].values(), found["conv4"]]
    found |= {
        "minutes": sum(s["seconds"] + s.get("search_seconds", 0) for s in spent) / 60,
        "commit": commit(),
    }
    args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in found.items() if k != "random"}, indent=1))


if __name__ == "__main__":
    main()
