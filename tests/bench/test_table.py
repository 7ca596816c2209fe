"""The tables of the docs are those of the committed JSON."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

OF_PLAIN = "25 MB (0.25 of `plain`)"
FILE = Path(__file__).parents[2] / "benchmarks" / "table.py"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FILE.parent))  # as for a script
    spec = importlib.util.spec_from_file_location("table", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_that_differs_is_found_and_written(
    table: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "speed.md"
    page.write_text(
        "before\n<!-- speed:begin -->\nan old number\n<!-- speed:end -->\nafter\n", encoding="utf-8"
    )
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(table, "TABLES", ((page, "speed", lambda: ["a new number"]),))
    monkeypatch.setattr(sys, "argv", ["table.py", "--check"])
    assert table.main() == 1
    assert "speed.md" in capsys.readouterr().err
    assert "an old number" in page.read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["table.py"])
    assert table.main() == 0
    assert (
        page.read_text(encoding="utf-8")
        == "before\n<!-- speed:begin -->\na new number\n<!-- speed:end -->\nafter\n"
    )
    monkeypatch.setattr(sys, "argv", ["table.py", "--check"])
    assert table.main() == 0


def test_rows_of_a_workload(table: ModuleType) -> None:
    def entry(rate: float, ratio: float, peer: str, **ratios: float) -> dict[str, object]:
        return {
            "tasks_per_second": rate,
            "of_ceiling": rate / 1000,
            "ratio": ratio,
            "best_peer": peer,
            "ratios": {peer: ratio, **ratios},
        }

    entries = {
        "quickstudy": entry(400, 4, "plain", jax=2),
        "quickstudy-torch": entry(200, 2, "plain", jax=1),
        "quickstudy-recompute": entry(300, 3, "plain", jax=1.5),
        "plain": entry(100, 1, "plain", jax=0.5),
        "jax": entry(200, 2, "plain", jax=1),
    }
    memory = {"quickstudy": 25_000_000, "quickstudy-torch": 30_000_000, "plain": 100_000_000}
    assert list(table._speed_rows("W1", {"entries": entries}, memory)) == [
        ("W1", "400", "4.00", "200", "2.00", "`plain` 100", "40 %", "2.00", OF_PLAIN),
        ("W1, recompute", "300", "3.00", "", "", "`plain` 100", "30 %", "1.50", ""),
    ]


def test_a_table_is_written_with_cells_that_are_empty_or_do_not_apply(table: ModuleType) -> None:
    columns = (
        table.Column("name", lambda record: record[0]),
        table.Column(None, lambda record: record[1]),
    )
    assert table.Table(columns, [("a", ""), ("b", None)], ("A note.",)).lines() == [
        "| name | |",
        "|---|---|",
        "| a |  |",
        "| b | |",
        "",
        "A note.",
    ]
    assert table.Table(table.columns_of("x", "y"), [("1", "2")]).lines()[2:] == ["| 1 | 2 |"]


def test_results_of_a_changed_tree_are_refused_unless_they_are_old(
    table: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    for name, commit in (("old", "0a1b2c+"), ("new", "3d4e5f+"), ("clean", "3d4e5f")):
        (folder / f"{name}.json").write_text(f'{{"commit": "{commit}"}}')
    (folder / "changed_trees.txt").write_text("benchmarks/old.json\n")
    monkeypatch.setattr(table, "ROOT", tmp_path)
    monkeypatch.setattr(table, "CHANGED_TREES", folder / "changed_trees.txt")
    monkeypatch.setattr(table, "TABLES", ())
    monkeypatch.setattr(sys, "argv", ["table.py", "--check"])
    assert table.new_changed_trees() == ["benchmarks/new.json"]
    assert table.main() == 1
    assert "benchmarks/new.json" in capsys.readouterr().err


def test_the_list_of_old_results_names_files_that_are_there(table: ModuleType) -> None:
    names = table.CHANGED_TREES.read_text(encoding="utf-8").split()
    assert len(set(names)) == len(names)
    for name in names:
        text = (table.ROOT / name).read_text(encoding="utf-8")
        assert table.CHANGED_COMMIT.search(text), name
