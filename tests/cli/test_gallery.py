"""``quickstudy gallery`` from the first picture to the last."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def door(quickstudy: Callable, run_folder: Path, drawings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sqlalchemy")
    place = tmp_path_factory.mktemp("door") / "door.db"
    quickstudy("gallery", "create", place, "--run", run_folder)
    out = quickstudy("gallery", "enrol-folder", place, drawings / "known", "--run", run_folder, "--force").stdout
    assert "Enrolled 3 identities from 12 pictures" in out
    return place


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_members_and_strangers(quickstudy: Callable, run_folder: Path, drawings: Path, door: Path) -> None:
    out = quickstudy("gallery", "calibrate", door, "--rate", "0.2").stdout
    assert "rule: leave one class out" in out
    told = lines(quickstudy("gallery", "identify", door, drawings / "known", "--run", run_folder, "--json").stdout)
    assert len(told) == 12
    assert all(row["candidates"][0]["identity"] == Path(row["image"]).parent.name for row in told)
    shown = quickstudy("gallery", "identify", door, drawings / "new", "--run", run_folder).stdout
    assert "similarity" in shown
    picture = sorted((drawings / "known" / "Än").iterdir())[0]
    assert quickstudy("gallery", "verify", door, "Än", picture, "--run", run_folder).stdout.startswith("yes")
    other = sorted((drawings / "known" / "three o").iterdir())[0]
    quickstudy("gallery", "verify", door, "Än", other, "--run", run_folder, status=1)
    actions = [row["action"] for row in lines(quickstudy("gallery", "audit", door, "--json").stdout)]
    assert actions[:3] == ["enrol"] * 3
    assert actions[-2:] == ["verify", "verify"]


def test_people_come_and_go(quickstudy: Callable, run_folder: Path, drawings: Path, door: Path, tmp_path: Path) -> None:
    quickstudy("gallery", "export", door, tmp_path / "out")
    place = tmp_path / "copy.db"
    assert "with 3 identities" in quickstudy("gallery", "import", tmp_path / "out", place).stdout
    said = quickstudy("gallery", "enrol", place, "guest", *sorted((drawings / "new").iterdir())[:1], "--run", run_folder, "--force").stdout
    assert "guest has one template" in said
    quickstudy("gallery", "rename", place, "guest", "Guest")
    names = [row["name"] for row in lines(quickstudy("gallery", "list", place, "--json").stdout)]
    assert "Guest" in names
    quickstudy("gallery", "remove", place, "Guest")
    first = lines(quickstudy("gallery", "list", place, "--json").stdout)[0]["templates"][0]
    quickstudy("gallery", "remove", place, "--template", str(first))
    assert "Nobody's date" in quickstudy("gallery", "expire", place).stdout
    assert "Nobody is called 'Guest'" in quickstudy("gallery", "remove", place, "Guest", status=2).stderr
    quickstudy("gallery", "erase", place, "--yes")
    assert "without a gallery" in quickstudy("gallery", "list", place, status=2).stderr


def test_mistakes_end_in_one_line(quickstudy: Callable, run_folder: Path, drawings: Path, door: Path, tmp_path: Path) -> None:
    assert "There is no gallery at" in quickstudy("gallery", "list", tmp_path / "none.db", status=2).stderr
    assert "holds a gallery already" in quickstudy("gallery", "create", door, "--run", run_folder, status=2).stderr
    assert "give --run too" in quickstudy("gallery", "calibrate", door, "--cohort", drawings / "new", status=2).stderr
    assert "Give the name of an identity, or --template" in quickstudy("gallery", "remove", door, status=2).stderr
    said = quickstudy("gallery", "identify", door, drawings / "new", "--run", run_folder, "--no-invert", status=2).stderr
    assert "holds templates of the encoder" in said
