import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from quickstudy.recipes import load_run

Command = Callable[..., "subprocess.CompletedProcess[str]"]

# The demo's second recipe, on sine waves: a trial takes a tenth of a second.
FIXED = {
    "data": "sinusoid",
    "encoder": "mlp",
    "encoder.in_dim": "1",
    "encoder.widths": "[8]",
    "learner.n_out": "1",
    "episodes.n_way": "0",
    "validation.n_way": "0",
    "train.steps": "4",
    "train.tasks_per_step": "1",
    "train.validate_every": "1",
    "train.n_val_tasks": "2",
    "train.chunk": "1",
    "train.workers": "1",
}
FIX = [a for field, value in FIXED.items() for a in ("--set", f"{field}={value}")]
SEARCH = ["--tune", "optimiser.lr=1e-4..1e-2:log", "--tune", "learner.inner_lr=0.01,1e30"]


@pytest.fixture(autouse=True)
def _no_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUICKSTUDY_STORAGE", raising=False)


def test_a_search_ends_with_the_command_that_trains_its_best(
    quickstudy: Command, tmp_path: Path
) -> None:
    done = quickstudy("tune", "glyphs-fomaml", *FIX, *SEARCH, "--trials", "6", "--out", tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["trial", "optimiser.lr", "learner.inner_lr", "score", "state"]
    rows = {int(line.split()[0]): line.split() for line in lines[1:7]}
    assert list(rows) == list(range(6))
    assert {row[-1] for row in rows.values()} == {"complete", "failed"}
    assert all(row[2] == "1e+30" for row in rows.values() if row[-1] == "failed")
    assert re.search(r"^trial \d failed: At step 1 the loss is ", done.stdout, re.MULTILINE)
    assert re.search(r"trial \d: complete -\d", done.stderr)
    (number,) = re.findall(r"Best: trial (\d)", done.stdout)
    best = load_run(tmp_path / f"trial-{number}")
    command = shlex.split(lines[-1])
    assert command[:3] == ["quickstudy", "train", "glyphs-fomaml"]
    shown = json.loads(quickstudy("show", *command[2:]).stdout)
    assert shown == best.recipe.to_json() | {
        "encoder": shown["encoder"],
        "evaluations": shown["evaluations"],
    }
    assert shown["optimiser"]["lr"] == best.recipe.optimiser.lr


def test_the_same_command_goes_on(
    quickstudy: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["tune", "glyphs-fomaml", *FIX, *SEARCH[:2]]
    monkeypatch.setenv("QUICKSTUDY_STORAGE", f"sqlite:///{tmp_path}/study.db")
    first = quickstudy(*command, "--trials", "1").stdout
    second = quickstudy(*command, "--trials", "2")
    assert second.stdout.splitlines()[1] == first.splitlines()[1]
    assert "trial 0" not in second.stderr
    assert "trial 1" in second.stderr
    said = quickstudy(*command, "--set", "train.steps=5", status=2).stderr
    assert "recipe.train.steps is 4 there and 5 here" in said
    assert len(said.splitlines()) == 1


def test_all_trials_failed(quickstudy: Command) -> None:
    done = quickstudy(
        "tune",
        "glyphs-fomaml",
        *FIX,
        "--tune",
        "learner.inner_lr=1e29,1e30",
        "--trials",
        "1",
        status=2,
    )
    assert (
        "No trial of glyphs-fomaml is complete (1 failed), so there is no best one. Trial 0 "
        "failed: " in done.stderr
    )
    assert "1 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tune", "optimiser.lr"], "--tune takes FIELD=RANGE, got 'optimiser.lr'"),
        (
            ["--tune", "optimiser.lr=1..2", "--tune", "optimiser.lr=3..4"],
            "--tune takes each field once, got optimiser.lr=1..2, optimiser.lr=3..4",
        ),
        (
            ["--tune", "optimiser.lr=1..2", "--set", "train.steps"],
            "--set takes FIELD=VALUE, got 'train.steps'",
        ),
        (["--tune", "optimiser.rate=1..2"], "'optimiser' has no field 'rate'"),
        (["--tune", "optimiser.lr=2..1"], "the first number must be below the second, got 2 and 1"),
        (
            ["--tune", "optimiser.lr=1e-4..1e-2", "--set", "train.validate_every=0"],
            "--set train.validate_every=1, a quarter of its steps",
        ),
        (
            ["--tune", "optimiser.lr=1e-4..1e-2", "--storage", "study.db"],
            "such as sqlite:///study.db",
        ),
    ],
)
def test_mistakes_end_in_one_line(quickstudy: Command, arguments: list[str], message: str) -> None:
    said = quickstudy("tune", "glyphs-fomaml", *FIX, *arguments, status=2).stderr
    assert message in said
    assert len(said.splitlines()) == 1
