"""`quickstudy bench`, called as the shell calls it."""

import contextlib
import importlib.util
import io
import json
import sys
from pathlib import Path

import pytest

from quickstudy.cli import main


def quickstudy(*arguments: str | Path, status: int = 0) -> tuple[str, str]:
    """What it printed, and what it complained of."""
    said, complained = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(complained),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["quickstudy", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert int(ended.value.code or 0) == status, complained.getvalue()
    return said.getvalue(), complained.getvalue()


@pytest.mark.usefixtures("in_this_process")
def test_speed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)  # no compiler: it takes seconds
    arguments = [
        "bench",
        "speed",
        "--against",
        "plain",
        "--workload",
        "W7",
        "--rounds",
        "1",
        "--n-tasks",
        "1",
    ]
    said, _ = quickstudy(
        *arguments, "--json", tmp_path / "speed.json", "--plot", tmp_path / "speed.png"
    )
    found = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert list(found["workloads"]) == ["W7"]
    assert list(found["workloads"]["W7"]["entries"]) == [
        "quickstudy",
        "quickstudy-recorded",
        "plain",
    ]
    assert (tmp_path / "speed.png").exists()
    for text in (
        "tasks/s",
        "× best peer",
        "best peer",
        "of the ceiling",
        "quickstudy",
        "plain",
        "1 rounds",
    ):
        assert text in said


@pytest.mark.usefixtures("in_this_process")
def test_peers_that_are_not_installed_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    absent = {"torchopt": "peers", "higher": "peers", "easyfsl": "peers", "jax": "jax"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else found(name)
    )
    monkeypatch.setattr("shutil.which", lambda name: None)
    path = tmp_path / "speed.json"
    short = ["--rounds", "1", "--n-tasks", "1", "--no-memory", "--no-shares"]
    said, _ = quickstudy("bench", "speed", "--workload", "W7", *short, "--json", path)
    report = json.loads(path.read_text(encoding="utf-8"))
    compiled = ["quickstudy-compiled", "vmap-compiled"]
    assert sorted(report["missing"]) == sorted(["torchopt", "higher", "jax", *compiled])
    for name, reason in report["missing"].items():
        assert f"Not measured: {reason}\n" in said
        assert name in compiled or f"pip install 'quickstudy[{absent[name]}]'" in reason
    assert {"plain", "vmap"} <= set(report["workloads"]["W7"]["entries"])


@pytest.mark.usefixtures("in_this_process")
def test_growth(tmp_path: Path) -> None:
    arguments = [
        "bench",
        "growth",
        "--workload",
        "W7",
        "--axis",
        "tasks",
        "--axis",
        "shots",
        "--largest",
        "2",
        "--rounds",
        "1",
        "--no-memory",
    ]
    said, _ = quickstudy(
        *arguments, "--json", tmp_path / "growth.json", "--plot", tmp_path / "growth.png"
    )
    found = json.loads((tmp_path / "growth.json").read_text(encoding="utf-8"))
    assert list(found["curves"]) == ["tasks", "shots"]
    assert list(found["curves"]["shots"]) == ["quickstudy", "plain"]
    assert (tmp_path / "growth.png").exists()
    assert "exponent" in said


def test_learners(tmp_path: Path) -> None:
    path = tmp_path / "learners.json"
    few = ["--n-tasks", "1", "--width", "2", "--rounds", "1"]
    said, _ = quickstudy("bench", "learners", "--learner", "simpleshot", *few, "--json", path)
    assert "simpleshot" in said
    found = json.loads(path.read_text(encoding="utf-8"))
    assert list(found["learners"]) == ["simpleshot"]
    assert (found["n_tasks"], found["width"], found["rounds"]) == (1, 2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["speed", "--workload", "W6-60ways"], "Invalid value for '--workload'"),
        (["speed", "--against", "plian"], "Invalid value for '--against'"),
        (["speed", "--device", "gpu"], "Invalid value for '--device'"),
        (["growth", "--axis", "inner step"], "Invalid value for '--axis'"),
        (["growth", "--workload", "W1", "--against", "easyfsl"], "easyfsl"),
        (["learners", "--learner", "protonett"], "'protonet'"),
    ],
)
def test_mistakes_name_the_option(arguments: list[str], message: str) -> None:
    _, complained = quickstudy("bench", *arguments, status=2)
    assert message in complained


def test_help_names_what_there_is() -> None:
    said, _ = quickstudy("bench", "--help")
    assert "speed" in said
    assert "growth" in said
    assert "learners" in said
