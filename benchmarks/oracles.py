"""How far each method is from other people's code, on the same small inputs and weights.

    python benchmarks/oracles.py           compares, writes benchmarks/oracles.json and the table
    python benchmarks/oracles.py --check   fails where the table is another

The table stands in docs/experiments/oracles.md.

The golden numbers lie in tests/oracles/data; the comparisons are the tests there.
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests" / "oracles"
RESULT = ROOT / "benchmarks" / "oracles.json"
PAGE = ROOT / "docs" / "experiments" / "oracles.md"
BEGIN, END = "<!-- oracles -->\n", "<!-- /oracles -->\n"


def compared() -> list[dict[str, Any]]:
    """Every comparison of the tests, freshly made."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "pytest", "-n0", "-q", str(TESTS), f"--oracles-json={out}"]
        command.append(f"--ignore={TESTS / 'test_page.py'}")
        subprocess.run(command, cwd=ROOT, check=True)
        return json.loads(out.read_text(encoding="utf-8"))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """For each method: its reference, what agrees and how far, what differs, why and how much."""
    references = json.loads((TESTS / "references.json").read_text(encoding="utf-8"))
    by_file: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_file[row["file"]].append(row)
    result = {}
    for name, reference in references.items():
        equal = [r for r in by_file[name] if not r["cause"]]
        causes: dict[str, float] = defaultdict(float)
        for row in by_file[name]:
            if row["cause"]:
                causes[row["cause"]] = max(causes[row["cause"]], row["absolute"])
        result[name] = {
            "reference": reference,
            "agree": len(equal),
            "absolute": float(f"{max(r['absolute'] for r in equal):.0e}"),
            "relative": float(f"{max(r['relative'] for r in equal):.0e}"),
            "differ": {cause: float(f"{size:.1e}") for cause, size in causes.items()},
        }
    return result


def table(result: dict[str, Any]) -> str:
    """The summary as Markdown."""
    lines = [
        "| method | reference | agree | largest difference | relative | differ by design (size) |",
        "|---|---|---:|---:|---:|---|",
    ]
    for name, r in result.items():
        causes = "; ".join(f"{cause} ({size:.1e})" for cause, size in r["differ"].items())
        lines.append(
            f"| {name.replace('_', ' ')} | {r['reference']} | {r['agree']} | "
            f"{r['absolute']:.0e} | {r['relative']:.0e} | {causes} |"
        )
    return "\n".join(lines) + "\n"


def page(result: dict[str, Any]) -> str:
    """docs/experiments/oracles.md with the table of ``result``."""
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    return head + BEGIN + table(result) + END + rest.split(END)[1]


def main() -> None:
    """Compare and write, or check what is written."""
    if sys.argv[1:] == ["--check"]:
        result = json.loads(RESULT.read_text(encoding="utf-8"))
        if page(result) != PAGE.read_text(encoding="utf-8"):
            sys.exit(f"{PAGE.name} differs from {RESULT.name}. Run: python benchmarks/oracles.py")
        return
    result = summary(compared())
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(result), encoding="utf-8")


if __name__ == "__main__":
    main()
