"""What a release says of itself in several places is the same."""

import re
import tomllib
from pathlib import Path

from quickstudy.version import __version__

ROOT = Path(__file__).parents[2]


def test_the_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [__version__]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["version"]["path"] == "src/quickstudy/version.py"


def test_constraints_pin_every_tool_of_the_site() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    for requirement in project["project"]["optional-dependencies"]["docs"]:
        assert re.split(r"[<>=]", requirement)[0] in pinned
