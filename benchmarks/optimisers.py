"""AdamW beside Muon in short trainings: what each has learned after the same steps.

python benchmarks/optimisers.py     what is not in benchmarks/optimisers.json yet, on one thread

Each recipe is trained with each optimiser at each rate, from the same weights on the same tasks,
and scored on validation tasks. The best rate of each optimiser is what the table shows.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rendering import Table, columns_of

from quickstudy.core.saving import holds
from quickstudy.evaluation import commit, versions
from quickstudy.recipes import Recipe, recipe_named, train_recipe

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "optimisers.json"
STEPS = {
    "gp-cnp": 3_000,
    "gp-anp": 600,
    "gp-tnp": 600,
    "short-in_context": 500,
    "short-protonet": 500,
}
RATES = {"adamw": (5e-4, 2e-3, 5e-3), "muon": (2e-3, 5e-3, 1e-2)}


def measure(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The score of a training on validation tasks, and what it took."""
    run = train_recipe(recipe, folder, resume=holds(folder, "run"), device="cpu")
    if not run.result.finished:
        raise SystemExit("Stopped; nothing is lost. Go on with the same command.")
    evaluation = replace(recipe.evaluations[0], split=recipe.val_split, n_tasks=600, published=None)
    report = run.evaluate(evaluation)
    return {
        "recipe": recipe.name,
        "steps": recipe.train.steps,
        "optimiser": recipe.optimiser.name,
        "lr": recipe.optimiser.lr,
        "metric": report.metric,
        "score": [round(report.mean, 5), round(report.ci95, 5)],
        "seconds": round(run.result.seconds, 1),
        "commit": commit(),
        "versions": versions(),
    }


def rows() -> list[str]:
    """The table, from the file: the recipes that were trained at every rate."""
    measured = json.loads(FILE.read_text(encoding="utf-8"))
    taken = {(r["recipe"], r["optimiser"], r["lr"]) for r in measured}
    wanted = [(optimiser, lr) for optimiser, rates in RATES.items() for lr in rates]
    names = [name for name in STEPS if all((name, *trial) in taken for trial in wanted)]
    best = {
        (name, optimiser): max(
            (r for r in measured if (r["recipe"], r["optimiser"]) == (name, optimiser)),
            key=lambda r: r["score"][0],
        )
        for name in names
        for optimiser in RATES
    }
    lines = [
        (
            f"`{name}`",
            f"{STEPS[name]:,}",
            *(_score(best[name, optimiser]) for optimiser in RATES),
            best[name, "muon"]["metric"].replace("_", "-"),
        )
        for name in names
    ]
    note = f"600 validation tasks; commit {', '.join(sorted({r['commit'] for r in measured}))}."
    columns = columns_of("recipe", "steps", "AdamW, at its best rate", "Muon, likewise", "score")
    return Table(columns, lines, (note,)).lines()


def _score(row: dict[str, Any]) -> str:
    unit = 100 if row["metric"] == "accuracy" else 1
    mean, half = (unit * value for value in row["score"])
    return f"{mean:.2f} ± {half:.2f} at {row['lr']:g}"


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    measured = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else []
    done = {(r["recipe"], r["optimiser"], r["lr"]) for r in measured}
    for name, steps in STEPS.items():
        for optimiser, rates in RATES.items():
            for lr in rates:
                if (name, optimiser, lr) in done:
                    continue
                changes = {
                    "optimiser.name": optimiser,
                    "optimiser.lr": f"{lr}",
                    "train.steps": f"{steps}",
                    "train.workers": "1",
                }
                folder = ROOT / "runs" / "optimisers" / f"{name}-{optimiser}-{lr:g}"
                measured.append(measure(recipe_named(name).with_changes(changes), folder))
                FILE.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
                print(json.dumps(measured[-1]), flush=True)


if __name__ == "__main__":
    main()
