"""The 20-way runs within one alphabet of Lake et al., drawn ten times as the official ones are.

quickstudy train omniglot-lake-protonet
python benchmarks/lake.py                 RUN is runs/omniglot-lake-protonet
python benchmarks/lake.py --run RUN --out FILE

The run must have been trained on the background alphabets alone. The draws are of one and the same
training: their spread says how much 20 runs of 20 queries may differ, not how much trainings do.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rendering import Table, columns_of, percent

from quickstudy.evaluation import commit, versions
from quickstudy.recipes import load_run, score_lake20

FILE = Path(__file__).parent / "lake.json"
DRAWS = 10
PUBLISHED = (
    ("people", 0.045),
    ("Bayesian program learning", 0.033),
    ("Siamese network, as Lake et al. 2015 trained it", 0.080),
    ("prototypical network, as Lake et al. 2019 trained it", 0.137),
)
"""Errors on the official runs: Lake et al. 2015, doi:10.1126/science.aab3050; Lake, Salakhutdinov,
Tenenbaum 2019, doi:10.1016/j.cobeha.2019.04.007.
"""


def measure(run: Path) -> dict[str, Any]:
    """The errors of a run in ten draws of the 20 runs.

    Raises:
        SystemExit: for a run that was trained on characters of the evaluation alphabets.
    """
    trained = load_run(run)
    errors = []
    for seed in range(DRAWS):
        score = score_lake20(trained, seed=seed)
        if score.seen:
            raise SystemExit(f"{run} was trained on {len(score.seen)} characters of these runs.")
        errors.append(round(1 - score.report.mean, 6))
    report = score.report
    return {
        "recipe": trained.recipe.name,
        "errors": errors,
        "train_seconds": report.train_seconds,
        "train_tasks": report.train_tasks,
        "parameters": report.parameters,
        "commit": commit(),
        "versions": versions(),
    }


def rows() -> list[str]:
    """The table, from the file."""
    content = json.loads(FILE.read_text())
    errors = np.array(content["errors"])
    ours = (
        f"prototypical network, `{content['recipe']}`",
        f"{percent(errors.mean(), 2)} ({percent(errors.min())} to {percent(errors.max())})",
        f"{DRAWS} draws of 20 runs",
    )
    published = [(name, percent(error), "the official 20 runs") for name, error in PUBLISHED]
    note = (
        f"Errors in %. Ours: {content['train_tasks']:,} training tasks in "
        f"{content['train_seconds'] / 60:.0f} minutes, commit {content['commit']}."
    )
    return Table(columns_of("", "errors", "on"), (ours, *published), (note,)).lines()


def main() -> None:
    """Score the run and write the file."""
    parser = argparse.ArgumentParser(description="The runs within one alphabet of Lake et al.")
    parser.add_argument("--run", type=Path, default=Path("runs/omniglot-lake-protonet"))
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    content = measure(asked.run)
    asked.out.write_text(json.dumps(content, indent=1) + "\n")
    errors = 100 * np.array(content["errors"])
    print(f"Errors {errors.mean():.2f} %, from {errors.min():.2f} to {errors.max():.2f}.")


if __name__ == "__main__":
    main()
