"""The rules of the house that a machine can hold."""

import ast
import inspect
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import quickstudy
from quickstudy.algorithms import ALGORITHMS

SOURCE = Path(quickstudy.__file__).parent
ROOT = SOURCE.parent.parent
FILES = sorted(SOURCE.rglob("*.py"))


def test_import_is_light() -> None:
    heavy = ("matplotlib", "sklearn", "typer", "PIL.ImageFont", "scipy.stats")
    code = f"import sys, quickstudy; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == "[]"


def test_no_utils_no_helpers() -> None:
    assert not [f for f in FILES if f.stem in ("utils", "util", "helpers", "common", "misc")]


def test_algorithm_files_are_short() -> None:
    lines = [
        len(f.read_text().splitlines())
        for f in (SOURCE / "algorithms").rglob("*.py")
        if f.stem != "__init__"
    ]
    assert max(lines) <= 250
    assert statistics.median(lines) <= 110


def test_commands_parse_call_and_print_in_few_lines() -> None:
    lines = {
        f"{file.name}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for file in (SOURCE / "cli").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(lines) > 100
    assert not {name: n for name, n in lines.items() if n >= 60}


def test_no_line_is_over_100_columns_and_the_formatter_has_the_last_word() -> None:
    files = [f for folder in ("src", "tests", "benchmarks") for f in (ROOT / folder).rglob("*.py")]
    assert len(files) > 300
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            assert len(line) <= 100, f"{file}: {line}"
            assert "# fmt" + ": skip" not in line, f"{file}: {line}"


def test_public_types_share_no_name() -> None:
    """A name stands for one type in the whole house."""
    where: dict[str, set[str]] = {}
    for room in (m for m in quickstudy.__all__ if (SOURCE / m).is_dir() and m != "gallery"):
        module = getattr(quickstudy, room)
        for name in dir(module):
            value = getattr(module, name)
            if isinstance(value, type) and value.__module__.startswith("quickstudy."):
                where.setdefault(name, set()).add(f"{value.__module__}.{value.__qualname__}")
    assert len(where) > 100
    assert not {name: places for name, places in where.items() if len(places) > 1}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_public_things_have_docstrings_and_nothing_unpickles(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{file} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{file.name}: {node.name} has no docstring"
    assert not forbidden(tree), f"{file.name} calls {forbidden(tree)}"


def forbidden(tree: ast.AST) -> list[str]:
    """Calls that run code from data, or ask what an object has instead of what it is."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    safe = {"weights_only": True}
    bad = [
        ast.unparse(c.func)
        for c in calls
        if ast.unparse(c.func)
        in ("hasattr", "eval", "exec", "pickle.load", "pickle.loads", "joblib.load")
    ]
    loads = [c for c in calls if ast.unparse(c.func) == "torch.load"]
    return bad + [
        "torch.load"
        for c in loads
        if {k.arg: getattr(k.value, "value", None) for k in c.keywords if k.arg in safe} != safe
    ]


@pytest.mark.parametrize(
    "code",
    [
        "hasattr(x, 'y')",
        "eval('1')",
        "exec('1')",
        "pickle.loads(b)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
    ],
)
def test_what_is_forbidden_is_found(code: str) -> None:
    assert forbidden(ast.parse(code))
    assert not forbidden(ast.parse("learner.eval(); torch.load(f, weights_only=True)"))


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_algorithms_tell_where_they_come_from(name: str) -> None:
    said = inspect.getdoc(ALGORITHMS[name]) or ""
    for part in ("Paper:", "Differs:", "Example:", ">>>"):
        assert part in said, f"{name} has no {part}"


def test_the_results_table_is_rendered_from_the_committed_results() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "table.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [["lint-imports"], ["ruff", "check", "."], ["ruff", "format", "--check", "."]],
    ids=lambda c: c[0] + c[1] if c[1:] else c[0],
)
def test_the_linters_agree(command: list[str]) -> None:
    tool = Path(sys.executable).parent / command[0]
    if not tool.exists():
        pytest.skip(f"{command[0]} is not installed beside this Python")
    done = subprocess.run([str(tool), *command[1:]], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
