"""Put a training of `quickstudy.recipes.tables` into the package.

python -m quickstudy.recipes.tables runs/tables --steps 30000 --rows 192 --columns 20
python benchmarks/ship_tables.py runs/tables

Writes the weights in half precision, how they were trained, and their scores on synthetic tables
that they never saw, into src/quickstudy/pretrained/weights/tabular. With --goes-on the training
began with the weights that are there (--start of the recipe), and how those came about is kept.
"""

import argparse
import copy
import json
from pathlib import Path

import torch

from quickstudy.algorithms.in_context import TabularInContext
from quickstudy.core.lock import LOCK
from quickstudy.core.types import Classes
from quickstudy.data.priors import PriorTables, TableSizes
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95
from quickstudy.pretrained.tabular import TABULAR, open_tabular
from quickstudy.recipes import save_learner
from quickstudy.training.checkpoint import load_checkpoint

LARGEST = 4_000_000
N_BLOCKS = 20


def ship(run: Path) -> None:
    """The weights in half precision; what is not learned stays as it is."""
    learner = TabularInContext()
    learner.load_state_dict(load_checkpoint(run / "checkpoint.pt")["learner"])
    for p in learner.parameters():
        p.data = p.data.half()
    save_learner(learner, TABULAR)
    (TABULAR / LOCK).unlink(missing_ok=True)  # a package's files have no writers


def score() -> dict[str, object]:
    """Mean and 95 % half-width over tables of the validation stream."""
    learner = copy.deepcopy(open_tabular()).float()
    scores: dict[str, list[float]] = {}
    for kind, share in (("classification", 0.0), ("regression", 1.0)):
        tasks = PriorTables("val", TableSizes(regression=share))
        for block in range(N_BLOCKS):
            numbers = range(block * tasks.sizes.block, (block + 1) * tasks.sizes.block)
            e = tasks.batch(numbers)
            with torch.no_grad():
                loss = learner.loss(e)
                score = e.target.score(learner(e), e.query.y)
            scores.setdefault(f"{kind}: loss, 1 = guessing", []).extend(loss.tolist())
            if isinstance(e.target, Classes):
                scores.setdefault(f"{kind}: accuracy", []).extend(score.tolist())
    return {name: [round(v, 4) for v in mean_ci95(values)] for name, values in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ship the in-context learner of tables.")
    parser.add_argument("run", type=Path, help="a folder of quickstudy.recipes.tables")
    parser.add_argument("--goes-on", action="store_true", help="it began with the weights there")
    asked = parser.parse_args()
    run: Path = asked.run
    report = TABULAR / "report.json"
    earlier = json.loads(report.read_text(encoding="utf-8")) if asked.goes_on else None
    tree = commit()  # before the weights change it
    ship(run)
    log, plans = (
        [json.loads(line) for line in (run / name).read_text().splitlines()]
        for name in ("log.jsonl", "plans.jsonl")
    )
    about = {
        "commit": tree,
        "versions": versions(),
        "plans": plans,
        "steps": log[-1]["step"],
        "validation": score(),
        "log": log,
        "began with": earlier,
    }
    report.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    size = sum(file.stat().st_size for file in TABULAR.iterdir())
    print(json.dumps(about["validation"], indent=1), f"{TABULAR}: {size:,} bytes", sep="\n")
    if size > LARGEST:
        raise SystemExit(f"The learner of the package may have {LARGEST:,} bytes at most.")


if __name__ == "__main__":
    main()
