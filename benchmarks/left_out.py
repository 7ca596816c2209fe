"""What a classifier says of examples that are left out, one alone or one of each class at a time,
beside what comes; and the network of tables that reads the rows of small classes once or twice.

python benchmarks/left_out.py          writes benchmarks/left_out.json, two minutes of a core

Tables of tables.zip, two or three rows of each class, every head; what comes is the share of at
most 300 other rows that is answered right. The columns are standardised by the examples, and holes
filled with their medians, where it is not the network of tables that reads them itself.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from unittest import mock

import numpy as np

from quickstudy.bench.real_tables import Table, read_tables, split_rows
from quickstudy.core.arrays import NDArray
from quickstudy.estimators import FewShotClassifier, InContextClassifier, in_context
from quickstudy.evaluation import commit, versions

FILE = Path(__file__).parent / "left_out.json"
HEADS = ("prototype", "ridge", "logistic", "gaussian", "in-context")
PER_CLASS, DRAWS = (2, 3), 6
READ_PER_CLASS = (1, 2, 3)


def filled(x: NDArray[np.float64], known: NDArray[np.int64]) -> NDArray[np.float64]:
    """Holes as the medians of the known rows, 0 where there are none."""
    with np.errstate(all="ignore"):
        medians = np.nanmedian(np.where(np.isfinite(x[known]), x[known], np.nan), axis=0)
    return np.where(np.isfinite(x), x, np.nan_to_num(medians))


def said_and_came(table: Table, head: str, per_class: int, draw: int) -> tuple[float, float, float]:
    """The share that is right of examples left out one alone, of one of each class, and of other
    rows.
    """
    known, asked = split_rows(table, per_class, draw)
    x, y = filled(table.x, known), table.y
    model = FewShotClassifier(head, scaling="standardise", metric="euclidean")
    model.fit(x[known], y[known])
    each = (model.left_out_scores().argmax(1) == model.labels_).mean()
    alone = []
    for i in range(len(known)):
        rest = np.delete(known, i)
        other = FewShotClassifier(head, scaling="standardise", metric="euclidean")
        alone.append(other.fit(x[rest], y[rest]).predict(x[known[i : i + 1]])[0] == y[known[i]])
    return float(np.mean(alone)), float(each), float((model.predict(x[asked]) == y[asked]).mean())


def read(table: Table, per_class: int, draw: int) -> tuple[float, float]:
    """The share of others that is right with each row read once, and with those of few twice."""
    known, asked = split_rows(table, per_class, draw)
    right = []
    for few in (0, in_context._FEW):
        with mock.patch.object(in_context, "_FEW", few):
            model = InContextClassifier().fit(table.x[known], table.y[known])
        right.append(float((model.predict(table.x[asked]) == table.y[asked]).mean()))
    return right[0], right[1]


def main() -> None:
    """Measure, and write the file."""
    tables = [
        table
        for table in read_tables(Path(os.environ["QUICKSTUDY_DATA"]) / "tables.zip")
        if table.task == "classification"
    ]
    left, reads = defaultdict(list), defaultdict(list)
    for table in tables:
        for draw in range(DRAWS):
            for k in PER_CLASS:
                for head in HEADS:
                    left[f"{head}, {k}"].append(said_and_came(table, head, k, draw))
            for k in READ_PER_CLASS:
                reads[f"{k}"].append(read(table, k, draw))
        print(table.name, flush=True)
    mean = {key: np.mean(rows, axis=0).round(4).tolist() for key, rows in left.items()}
    content = {
        "tables": len(tables),
        "draws": DRAWS,
        "said of one alone, of one of each class, and what came": mean,
        "read once, small classes read twice": {
            key: np.mean(rows, axis=0).round(4).tolist() for key, rows in reads.items()
        },
        "commit": commit(),
        "versions": versions(),
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
