"""The map at the top of CONTRIBUTING.md is the tree."""

import re
import tomllib
from pathlib import Path

import quickstudy

SOURCE = Path(quickstudy.__file__).parent
ROOT = SOURCE.parent.parent
_ROW = re.compile(r"^\| (\d+) \| `([\w/]+)/` \| (\S.*) \|$", re.MULTILINE)
_ROWS = _ROW.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
ROOMS = [(int(layer), room) for layer, room, _ in _ROWS]


def holds_files(folder: Path) -> bool:
    """Whether there is more in it than what Python compiled."""
    return any(f.is_file() and "__pycache__" not in f.parts for f in folder.rglob("*"))


def test_every_folder_has_one_line_in_the_map_and_the_other_way_round() -> None:
    folders = [
        str(folder.relative_to(SOURCE))
        for folder in SOURCE.rglob("*")
        if folder.is_dir() and "__pycache__" not in folder.parts and holds_files(folder)
    ]
    assert sorted(room for _, room in ROOMS) == sorted(folders), "put it right in CONTRIBUTING.md"


def test_the_layers_of_the_map_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    files = ("runtime", "version")  # no folders
    layers = [set(layer.split(" | ")) for layer in contract["layers"] if layer not in files]
    numbers = {room.partition("/")[0]: layer for layer, room in ROOMS}
    assert all(numbers[room.partition("/")[0]] == layer for layer, room in ROOMS)
    assert layers == [
        {room for room, number in numbers.items() if number == k + 1} for k in range(len(layers))
    ]
