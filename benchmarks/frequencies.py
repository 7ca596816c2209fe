"""What head "auto" takes for tables whose classes are as frequent as they are in truth.

python benchmarks/frequencies.py

Of each table of benchmarks/r_tables.py with classes so many rows are drawn at random, three times,
and up to 300 others asked for; classes with one row among the drawn are left out. Beside the head
that is taken by how each does on every row ("auto"), the one that would be taken if every class
counted alike ("alike"), the in-context head and a random forest. Half of the tables was looked at
to decide, the other half was not. Writes benchmarks/frequencies.json.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from r_tables import read_r_tables
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score, log_loss

from quickstudy.bench.real_tables import Table, as_numbers, with_values
from quickstudy.estimators import FewShotClassifier
from quickstudy.estimators.comparison import choices_for, compare_heads
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95

ROOT = Path(__file__).parent.parent
SIZES, DRAWS, MOST_QUERIES = (40, 100), 3, 300
SCALING = "standardise"


def drawn(table: Table, n: int, draw: int) -> tuple[np.ndarray, ...] | None:
    """Rows and classes to learn from and to ask for, without classes of one row; None where fewer
    than two are left.
    """
    order = np.random.default_rng([draw, n]).permutation(len(table.y))
    n = min(n, len(order) // 2)
    known, asked = order[:n], order[n : n + MOST_QUERIES]
    counts = np.bincount(table.y[known], minlength=table.y.max() + 1)
    kept = np.flatnonzero(counts > 1)
    if len(kept) < 2:
        return None
    known, asked = (rows[np.isin(table.y[rows], kept)] for rows in (known, asked))
    table = with_values(table, known)
    encode = as_numbers(table).fit(table.x[known])
    return (
        encode.transform(table.x[known]),
        np.searchsorted(kept, table.y[known]),
        encode.transform(table.x[asked]),
        np.searchsorted(kept, table.y[asked]),
    )


def contenders(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """By name, the fitted classifiers."""
    n, weight = int(y.max()) + 1, np.ones(len(y))
    order = np.argsort(y, kind="stable")
    comparison, *_ = compare_heads(x[order], y[order], n, weight, choices_for(SCALING, len(y)))
    alike = FewShotClassifier("auto", scaling=SCALING)
    return {
        "auto": FewShotClassifier("auto", scaling=SCALING).fit(x, y),
        "alike": alike.fit(x, y, comparison=comparison),
        "in-context": FewShotClassifier("in-context").fit(x, y),
        "forest": RandomForestClassifier(200, random_state=0).fit(x, y),
    }


def measured(table: Table, n: int) -> dict[str, dict[str, float]] | None:
    """Of each classifier its mean scores over the draws."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for draw in range(DRAWS):
        parts = drawn(table, n, draw)
        if parts is None:
            continue
        x, y, asked, truth = parts
        for name, model in contenders(x, y).items():
            p = np.clip(model.predict_proba(asked), 1e-6, None)
            p = p / p.sum(1, keepdims=True)
            said = p.argmax(1)
            rows.setdefault(name, []).append(
                (
                    float((said == truth).mean()),
                    float(balanced_accuracy_score(truth, said)),
                    float(log_loss(truth, p, labels=range(p.shape[1]))),
                )
            )
    keys = ("accuracy", "balanced_accuracy", "log_loss")
    return {
        name: dict(zip(keys, np.mean(values, 0).round(4).tolist(), strict=True))
        for name, values in rows.items()
    } or None


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the tables, and how far "auto" is ahead of the others, paired over the tables."""
    result: dict[str, Any] = {"tables": len(rows)}
    for name in ("auto", "alike", "in-context", "forest"):
        entry: dict[str, Any] = {}
        for key in ("accuracy", "balanced_accuracy", "log_loss"):
            values = np.array([row[name][key] for row in rows])
            mean, half = mean_ci95(np.array([row["auto"][key] for row in rows]) - values)
            entry[key] = round(float(values.mean()), 4)
            entry[f"auto_ahead_in_{key}_by"] = [round(float(mean), 4), round(float(half), 4)]
        result[name] = entry
    return result


def main() -> None:
    """Measure, print and write."""
    tables = [table for table in read_r_tables() if table.task == "classification"]
    rows = []
    for n in SIZES:
        for table in tables:
            scores = measured(table, n)
            if scores:
                about = {"table": table.name, "looked_at": table.validation, "rows": n}
                rows.append({**about, **scores})
    report: dict[str, Any] = {"commit": commit(), "versions": versions(), "draws": DRAWS}
    for n in SIZES:
        for looked_at in (True, False):
            chosen = [r for r in rows if r["rows"] == n and r["looked_at"] is looked_at]
            which = "tables looked at" if looked_at else "other tables"
            report[f"{n} rows, {which}"] = summary(chosen)
    report["tables"] = rows
    text = json.dumps(report, indent=1) + "\n"
    (ROOT / "benchmarks" / "frequencies.json").write_text(text, encoding="utf-8")
    print(json.dumps({k: v for k, v in report.items() if "rows" in k}, indent=1))


if __name__ == "__main__":
    main()
