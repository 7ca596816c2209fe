"""How many right labels of real tables are suspected, and how often a wrong one is.

python benchmarks/wrong_labels.py

Of each table of benchmarks/r_tables.py with classes 80 rows are drawn at random, three times, as
they are and with one label changed. An example is a suspect where it scores far more for another
class than for its own; and, as it is done, where besides few examples do, or it has hardly a chance
of its own class. Half of the tables was looked at to choose that rule, the other half was not.
Writes benchmarks/wrong_labels.json.
"""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from frequencies import SCALING, drawn
from r_tables import read_r_tables

from quickstudy.estimators import FewShotClassifier
from quickstudy.estimators.findings import examine
from quickstudy.evaluation import commit, versions

ROOT = Path(__file__).parent.parent
N_ROWS, DRAWS = 80, 3
BORDERS = (0.0, 0.05, 0.15, 0.3, 1.01)  # of the share of mistakes, that rows are grouped by


def suspects(x: np.ndarray, y: np.ndarray) -> tuple[set[int], set[int], float]:
    """The suspects by scores alone, those of the whole rule, and the share of mistakes."""
    order = np.argsort(y, kind="stable")
    model = FewShotClassifier("auto", scaling=SCALING).fit(x, y)
    names = [str(c) for c in model.classes_]
    examples = model.support_, model.labels_, names, model.left_out_scores()
    alone = examine(*examples)
    told = examine(*examples, temperature=model.temperature)
    return (
        {int(order[i]) for i, _ in alone.suspects},
        {int(order[i]) for i, _ in told.suspects},
        len(told.wrong) / max(1, int(told.judged.sum())),
    )


def _mean(values: list[Any]) -> float:
    return round(float(np.mean([float(v) for v in values if v is not None])), 3)


def main() -> None:
    """Measure, print and write."""
    rows: list[dict[str, Any]] = []
    for table in read_r_tables():
        for draw in range(DRAWS if table.task == "classification" else 0):
            parts = drawn(table, N_ROWS, draw)
            if parts is None:
                continue
            x, y = parts[:2]
            rng = np.random.default_rng([draw, len(table.name)])
            at, n = int(rng.integers(len(y))), int(y.max()) + 1
            changed = y.copy()
            changed[at] = (y[at] + 1 + rng.integers(n - 1)) % n
            alone, told, mistakes = suspects(x, y)
            found_alone = found = None  # of a class of two no label can be changed
            if np.bincount(changed, minlength=n).min() > 1:
                by_scores, by_both, _ = suspects(x, changed)
                found_alone, found = at in by_scores, at in by_both
            rows.append(
                {
                    "table": table.name,
                    "looked_at": table.validation,
                    "mistakes": round(mistakes, 4),
                    "right_suspected_by_scores": len(alone),
                    "right_suspected": len(told),
                    "found_by_scores": found_alone,
                    "found": found,
                }
            )
    report: dict[str, Any] = {"commit": commit(), "versions": versions(), "rows": N_ROWS}
    for looked_at in (True, False):
        for low, high in pairwise(BORDERS):
            chosen = [
                r for r in rows if r["looked_at"] is looked_at and low <= r["mistakes"] < high
            ]
            which = "tables looked at" if looked_at else "other tables"
            report[f"{which}, mistakes from {low} to {min(high, 1.0)}"] = {
                "fits": len(chosen),
                **{key: _mean([r[key] for r in chosen]) for key in list(rows[0])[3:]},
            }
    report["tables"] = rows
    text = json.dumps(report, indent=1) + "\n"
    (ROOT / "benchmarks" / "wrong_labels.json").write_text(text, encoding="utf-8")
    print(json.dumps({k: v for k, v in report.items() if "mistakes" in k}, indent=1))


if __name__ == "__main__":
    main()
