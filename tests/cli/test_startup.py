"""What a command imports before it is needed, and what the list of commands says."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quickstudy.algorithms import ALGORITHMS, FAMILIES, family
from quickstudy.cli.app import COMMANDS
from quickstudy.cli.recipes import Family
from quickstudy.estimators import Encoding, FewShotClassifier, FittedModel
from quickstudy.pretrained.registry import ENCODERS as PRETRAINED
from quickstudy.recipes import RECIPES

_HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "pandas", "transformers")


def modules_of(code: str, *arguments: str) -> tuple[str, set[str]]:
    """What a fresh Python prints, and which heavy modules it has imported at the end."""
    script = f"""
import atexit, sys
atexit.register(lambda: print([m for m in {_HEAVY} if m in sys.modules], file=sys.stderr))
sys.argv = {["quickstudy", *arguments]}
{code}
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    imported = run.stderr.strip().splitlines()[-1]
    return run.stdout, {m for m in _HEAVY if f"'{m}'" in imported}


def command(*arguments: str) -> tuple[str, set[str]]:
    return modules_of("from quickstudy.cli import main\nmain()", *arguments)


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_of("import quickstudy")[1] == set()


def test_the_check_sees_what_is_imported() -> None:
    assert "torch" in modules_of("import quickstudy; quickstudy.Episode")[1]


def test_no_garbage_is_looked_for_while_a_command_is_imported() -> None:
    code = """
import gc
from quickstudy.cli.app import COMMANDS
looked = []
def note(phase, about):
    module = sys.modules.get("quickstudy.cli.fit")
    looked.append(module is not None and not hasattr(module, "fit"))
gc.callbacks.append(note)
[command.load() for command in COMMANDS if command.name == "fit"]
print(sum(looked), gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    assert modules_of(code)[0] == "0 True True\n"


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("list",), ("list", "encoders"), ("show", "glyphs-fomaml")],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert command(*arguments)[1] == set()


def test_gallery_list_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    address = f"sqlite:///{tmp_path / 'people.db'}"
    command("gallery", "create", address, "--encoder", "symbols")
    assert "torch" not in command("gallery", "list", address)[1]


def test_classes_needs_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    x = np.eye(3).repeat(2, axis=0)
    classifier = FewShotClassifier().fit(x, ["oak", "oak", "elm", "elm", "fir", "fir"])
    folder = FittedModel(classifier, Encoding("table", columns=("a", "b", "c"))).save(
        tmp_path / "trees"
    )
    text, imported = command("classes", str(folder))
    assert imported == set()
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["elm", "2"],
        ["fir", "2"],
        ["oak", "2"],
    ]


def test_help_lists_every_command_under_its_heading(quickstudy: Callable) -> None:
    lines = quickstudy("--help").stdout.splitlines()
    for entry in COMMANDS:
        assert any(f" {entry.name} " in line and entry.summary[:40] in line for line in lines)
        assert any(f"─ {entry.panel} ─" in line for line in lines)


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_every_command_loads_under_its_name(entry) -> None:
    assert entry.load().name == entry.name


def test_the_list_holds_every_recipe_under_its_family_within_100_columns(
    quickstudy: Callable,
) -> None:
    text = quickstudy("list").stdout
    assert max(len(line) for line in text.splitlines()) <= 100
    for name in RECIPES:
        assert f"  {name} " in text
    for key in FAMILIES:
        only = quickstudy("list", "algorithms", "--family", key.replace("_", "-")).stdout
        assert {line.split()[0] for line in only.splitlines()[1:] if line.strip()} == {
            name for name in ALGORITHMS if family(name) == key
        }


def test_the_list_of_encoders_is_that_of_the_registry(quickstudy: Callable) -> None:
    text = quickstudy("list", "encoders").stdout
    for entry in PRETRAINED:
        assert f"  {entry.name} " in text


def test_families_to_choose_from_are_the_families_there_are() -> None:
    assert {choice.name for choice in Family} == set(FAMILIES)
