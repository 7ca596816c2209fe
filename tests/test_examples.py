import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_first_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["first_steps.py", "--steps", "2", "--n-tasks", "3"])
    runpy.run_path(str(EXAMPLES / "first_steps.py"), run_name="__main__")
    assert "±" in capsys.readouterr().out


def test_unknowns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unknowns.py", "--steps", "2", "--rate", "0.1"])
    runpy.run_path(str(EXAMPLES / "unknowns.py"), run_name="__main__")
    assert "The gallery has 50 identities" in capsys.readouterr().out


def test_own_pictures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["own_pictures.py", "--classes", "6", "--pictures", "2"])
    runpy.run_path(str(EXAMPLES / "own_pictures.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "6 classes of 2 pictures each" in said
    assert "After it was added: guest" in said
    assert "loaded it says the same: True" in said


def test_navigation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["navigation.py", "--iterations", "1", "--episodes", "3"])
    runpy.run_path(str(EXAMPLES / "navigation.py"), run_name="__main__")
    assert "40 goals never met" in capsys.readouterr().out


def test_zero_shot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["zero_shot.py", "--steps", "2"])
    runpy.run_path(str(EXAMPLES / "zero_shot.py"), run_name="__main__")
    assert "three descriptions" in capsys.readouterr().out


def test_black_boxes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["black_boxes.py", "--steps", "2"])
    runpy.run_path(str(EXAMPLES / "black_boxes.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "example 5 of a class" in said
    assert "(2, 7) scores" in said


def test_architecture_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["architecture_search.py", "--steps", "1", "--plot", str(tmp_path / "cell.png")],
    )
    runpy.run_path(str(EXAMPLES / "architecture_search.py"), run_name="__main__")
    assert "a random one" in capsys.readouterr().out
    assert (tmp_path / "cell.png").exists()
