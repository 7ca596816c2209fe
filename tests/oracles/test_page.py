"""The table of the page comes from the committed comparisons, and these cover every file."""

import json
import subprocess
import sys
from pathlib import Path

from .golden import DATA

ROOT = Path(__file__).parents[2]


def test_the_page_is_rendered_from_the_committed_comparisons() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "oracles.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_is_compared() -> None:
    result = json.loads((ROOT / "benchmarks" / "oracles.json").read_text(encoding="utf-8"))
    known = json.loads((Path(__file__).parent / "known.json").read_text(encoding="utf-8"))
    assert set(result) == {f.stem for f in DATA.glob("*.npz")}
    assert {name: set(r["differ"]) for name, r in result.items() if r["differ"]} == {
        name: set(causes) for name, causes in known.items()
    }
