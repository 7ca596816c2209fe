"""Rows of the tables of results, measured again from their printed command in a fresh clone.

python benchmarks/redo.py                     the cheapest rows, writes benchmarks/redo.json
python benchmarks/redo.py glyphs-protonet --minutes 7    this row, for at most so long; what was
trained is kept, and the same command goes on
python benchmarks/redo.py omniglot-short/protonet        a row of a suite of `quickstudy bench run`

A row is redone when, in each of its settings, the score lies within the 95 % interval of the one in
the table; the interval is of the scored tasks and does not cover another training.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rendering import Column, Table, with_interval

from quickstudy.bench.record import Record
from quickstudy.evaluation import Report, versions

ROOT = Path(__file__).parent.parent
FILE = ROOT / "benchmarks" / "redo.json"
ROWS = (
    "attributes-zero-shot",
    "glyphs-fomaml",
    "glyphs-protonet",
    "omniglot-short/protonet",
    "omniglot-short/r2d2",
    "omniglot-short/matching",
)


def clone(folder: Path) -> str:
    """A clone of the last commit, made once; its commit."""
    if not (folder / ".git").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    head = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"],
        check=True,
        capture_output=True,
        text=True,
    )
    return head.stdout.strip()


def redo(row: str, folder: Path, left: float) -> float | None:
    """Run the printed command in the clone; the seconds that it took, None when the time was over
    before it had ended.
    """
    command = [sys.executable, "-m", "quickstudy", *arguments(row)]
    if (folder / "runs" / row / "last.pt").exists():
        command.append("--resume")
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    environment["QUICKSTUDY_CACHE"] = str(folder / "cache")
    began = time.monotonic()
    child = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        code = child.wait(timeout=left)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)  # the training saves and ends
        child.wait(timeout=120)
        return None
    if code:
        raise SystemExit(f"`{shlex.join(command)}` ended with {code}.")
    return time.monotonic() - began


def arguments(row: str) -> list[str]:
    """Of the printed command."""
    suite, _, name = row.rpartition("/")
    if suite:
        return ["bench", "run", "--suite", suite, "--only", name, "--rows", "runs/rows"]
    return ["train", row, "--out", f"runs/{row}"]


def compared(row: str, folder: Path) -> list[dict[str, Any]]:
    """For each setting of the row the score of the table and the new one."""
    if "/" in row:
        in_table, redone = (
            dict(Record.load(rows / f"{row}.json").test)
            for rows in (ROOT / "benchmarks" / "rows", folder / "runs" / "rows")
        )
    else:
        in_table = _reports(ROOT / "benchmarks" / "results" / row)
        redone = _reports(folder / "runs" / row / "reports")
    new = {_setting(report): report for report in redone.values()}
    settings = []
    for title, old in in_table.items():
        report = new[_setting(old)]
        settings.append(
            {
                "setting": title,
                "table": [round(old.mean, 5), round(old.ci95, 5)],
                "redone": [round(report.mean, 5), round(report.ci95, 5)],
                "inside": abs(report.mean - old.mean) <= old.ci95,
                "same tasks": report.split_hash == old.split_hash,
            }
        )
    return settings


def _reports(folder: Path) -> dict[str, Report]:
    return {file.stem: Report.load(file) for file in sorted(folder.glob("*.json"))}


def _setting(report: Report) -> tuple[object, ...]:
    return report.n_way, report.n_shot, report.n_query, report.norm


def rows() -> list[str]:
    """The table, from the file."""
    records = [
        (row["recipe"], setting, row["commit"])
        for row in json.loads(FILE.read_text())["rows"]
        for setting in row["settings"]
    ]
    columns = (
        Column("row", lambda record: f"`{record[0]}`"),
        Column("setting", lambda record: f"`{record[1]['setting']}`"),
        Column("in the table", lambda record: with_interval(record[1]["table"], 2)),
        Column("redone", lambda record: with_interval(record[1]["redone"], 2)),
        Column("inside", lambda record: "yes" if record[1]["inside"] else "no"),
        Column("commit", lambda record: record[2]),
    )
    return Table(columns, records).lines()


def main() -> None:
    """Redo what is not in the JSON yet."""
    parser = argparse.ArgumentParser(description="Rows of the results, from a fresh clone.")
    parser.add_argument("rows", nargs="*", help="recipes, or SUITE/ROW")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "redo")
    parser.add_argument("--out", type=Path, default=FILE)
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    content = json.loads(asked.out.read_text()) if asked.out.exists() else {"rows": []}
    for row in asked.rows or ROWS:
        if any(done["recipe"] == row for done in content["rows"]):
            continue
        commit = clone(asked.folder)
        seconds = redo(row, asked.folder, max(1.0, until - time.monotonic()))
        if seconds is None:
            raise SystemExit("The time is over. Nothing is lost: go on with the same command.")
        record = {
            "recipe": row,
            "command": shlex.join(["quickstudy", *arguments(row)]),
            "commit": commit,
            "versions": versions(),
            "settings": compared(row, asked.folder),
        }
        content["rows"].append(record)
        asked.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(record, indent=1), flush=True)


if __name__ == "__main__":
    main()
