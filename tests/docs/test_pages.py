"""Links of README and the pages resolve, and the API pages leave nothing out."""

import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts),
]
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)

sys.path.insert(0, str(DOCS / "_ext"))

import rooms  # noqa: E402


def text_of(page: Path) -> str:
    """The page without its code blocks and its code in a line."""
    return re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The headings as they are linked to."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=lambda p: p.name)
def test_links_resolve(page: Path) -> None:
    broken = []
    for link in LINK.findall(text_of(page)):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        # The pages of the API are written when the site is built.
        if target.parent == DOCS / "api" and target.suffix == ".rst":
            assert target.stem in (*rooms.ROOMS, "top_level")
        elif not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", [p for p in PAGES if p.exists()], ids=lambda p: p.name)
def test_commands_and_python_fit_100_columns(page: Path) -> None:
    """What one types, not what is printed: a phone and a printed page show no more."""
    wide = []
    for block in FENCE.finditer(page.read_text(encoding="utf-8")):
        kind, *lines = block[0].splitlines()
        typed: tuple[str, ...] = ("",)
        if kind.endswith(("python", "console")) and re.search(r"^(>>>|\$) ", block[0], re.M):
            typed = (">>> ", "... ", "$ ")
        if kind.endswith(("python", "console", "sh", "bash", "json", "yaml", "toml")):
            wide += [line for line in lines if len(line) > 100 and line.startswith(typed)]
    assert not wide


def test_every_page_is_in_the_contents_of_its_part() -> None:
    left_out = [
        page.relative_to(DOCS)
        for page in PAGES
        if page.is_relative_to(DOCS)
        and page.parent not in (DOCS, DOCS / "api")
        and page.name != "index.md"
        and page.stem not in (page.parent / "index.md").read_text(encoding="utf-8").split()
    ]
    assert left_out == []


def test_the_api_has_every_room() -> None:
    packages = {file.parent.name for file in (ROOT / "src" / "quickstudy").glob("*/__init__.py")}
    assert set(rooms.ROOMS) == packages - {"cli"}
    listed = (DOCS / "api" / "index.md").read_text(encoding="utf-8").split()
    assert set(rooms.ROOMS) <= set(listed)


def test_pages_of_names_that_are_gone_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "ROOMS", ("metrics",))
    monkeypatch.setattr(rooms, "_top_page", lambda: "")
    (kept, *_), *_ = rooms.entries("metrics").values()
    (tmp_path / "generated").mkdir()
    for name in (kept, "quickstudy.metrics.gone"):
        (tmp_path / "generated" / f"{name}.rst").touch()
    rooms.write(tmp_path)
    assert [page.stem for page in (tmp_path / "generated").iterdir()] == [kept]


@pytest.mark.parametrize("room", [room for room in rooms.ROOMS if room != "serve"])
def test_public_names_have_docstrings(room: str) -> None:
    names = [name for listed in rooms.entries(room).values() for name in listed]
    assert names
    without = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        item = getattr(importlib.import_module(module), attribute)
        own = vars(item).get("__doc__") if inspect.isclass(item) else item.__doc__
        if not own:
            without.append(name)
    assert without == []
