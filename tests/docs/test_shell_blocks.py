"""Every shell block of README and of Get started, run in an empty folder beside small data.

The runners of console blocks that there are (byexample, sybil, pytest-markdown-docs) start a shell,
and with it Python and torch, for every command. Here a command is called as its entry point is, in
one process. Lines that would take minutes are cut by `SHORTENED`; lines that need a network or an
installation stand in `NOT_RUN` with the reason, and their options are checked all the same.
"""

import contextlib
import doctest
import io
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quickstudy.cli import main
from quickstudy.cli.app import COMMANDS
from quickstudy.data import Glyphs

ROOT = Path(__file__).parents[2]
START = ROOT / "docs" / "get_started"
BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# So different that every encoder tells them apart; the first three are the birds.
CHARACTERS = (0, 60, 120, 30, 90)
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# Added to a command that begins like this.
SHORTENED = {
    "quickstudy train glyphs-protonet": "--set train.steps=2 --set train.n_val_tasks=2 --n-tasks 2",
    "quickstudy eval": "--n-tasks 2 --no-baselines",
    "quickstudy compare runs": "--n-tasks 2",
    "quickstudy analyse steps": "--n-tasks 2 --steps 2",
    "quickstudy analyse permutations": "--n-tasks 2 --orders 4",
    "quickstudy analyse order runs/omniglot": "--n-tasks 2",
    "quickstudy analyse cka": "--n-tasks 2",
}
# Another word in the place of one that needs the network, a large data set or an encoder that is
# slow; and on the page of all commands, other models in the place of the one that is fitted last.
REPLACED = {
    "facebook/dinov2-small": "symbols",
    "0.01 --cohort other-parts": "0.05 --cohort other-parts",
    "fit parts -o my-model": "fit parts -o careful",
    "requests.csv -o my-model": "requests.csv -o texts",
    "measured.csv -o my-model": "measured.csv -o measured",
    "my-model new.csv": "measured new.csv",
    "my-model new-requests.csv": "texts new-requests.csv",
    "my-model --run": "of-a-run --run",
    "my-model photos --false-accept-rate": "careful photos --false-accept-rate",
}
# Installed or trained elsewhere, or minutes long. Where it is a command, its options are checked.
NOT_RUN = {
    "make ": "installs the package; the workflow runs both targets",
    "pip install": "needs the network; make wheel installs the built package",
    "quickstudy demo": "trains for seconds at least; make wheel runs it",
    "quickstudy train glyphs-protonet --set train.steps=300": "as on the page Meta-train",
    "quickstudy eval runs/glyphs-protonet --unknown": "as the line above it, with unknowns",
    "quickstudy eval runs/glyphs-protonet --n-way 20": "as the lines above it, another setting",
    "quickstudy eval runs/omniglot-5w1s-maml --as": "as the line above it, another learner",
    "quickstudy eval runs/glyphs-protonet --data omniglot": "needs Omniglot",
    "quickstudy eval runs/glyphs-protonet --vary": "as the lines above it, other tasks",
    "quickstudy eval runs/omniglot-lake-protonet --protocol": "needs Omniglot",
    "quickstudy fit voices": "needs recordings and a run on them",
    "quickstudy fit requests -o": "needs an encoder of texts that loads for seconds",
    'quickstudy predict my-model "switch': "needs the model of texts of that line",
    "quickstudy predict my-model photos --encoder moved": "needs a run that was moved",
    "quickstudy analyse order runs/family": "needs two runs of hours",
    "quickstudy analyse architecture": "needs a search of hours",
    "quickstudy analyse instances": "needs a run on Omniglot",
    "quickstudy analyse embedding": "needs a run on Omniglot",
    "quickstudy tune": "needs thirty trainings",
    "quickstudy bench": "measures for minutes",
}
# The run that the page of all commands takes its examples of gradient-based learners from.
MAML = (
    "quickstudy train glyphs-fomaml --out runs/omniglot-5w1s-maml --n-tasks 2 "
    "--set train.steps=2 --set train.validate_every=0"
)
# What a line must print, where the page does not show it.
PRINTS = {
    "quickstudy --help": "Usage: .*quickstudy",
}


@dataclass(frozen=True)
class Line:
    """A command of a page, and what the page says that it prints, if it does."""

    text: str
    output: str

    def begins(self, table: dict[str, str]) -> list[str]:
        """What the table says of it."""
        return [value for start, value in table.items() if self.text.startswith(start)]

    def as_run(self) -> str:
        text = self.text
        for old, new in REPLACED.items():
            text = text.replace(old, new)
        return " ".join([text.partition(" #")[0], *self.begins(SHORTENED)])


def lines_of(page: Path) -> list[Line]:
    lines = []
    for language, broken in BLOCK.findall(page.read_text(encoding="utf-8")):
        block = re.sub(r" \\\n *", " ", broken)
        if language == "sh":
            commands = [text for text in block.splitlines() if text.strip()]
            lines += [Line(text, "") for text in commands if not text.startswith("#")]
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            text, _, output = part.partition("\n")
            lines.append(Line(text, output))
    return lines


PAGES = {
    page.stem: lines
    for page in (ROOT / "README.md", *sorted(START.glob("*.md")))
    if (lines := lines_of(page))
}


def draw(path: Path, character: int, drawing: int) -> None:
    """A drawing of the demo's data, dark on light paper."""
    test = Glyphs().split("test")
    row = int(test.index.rows_of(character)[drawing])
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(255 - np.asarray(test.x[row, 0])).save(path)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders and files that the pages name, of the demo's data."""
    root = tmp_path_factory.mktemp("material")
    for folder, names in (
        ("birds", ("wren", "finch", "heron")),
        ("letters", ("sun", "star", "house", "tree", "boat")),
        ("parts", ("bolt", "nut", "ring")),
        ("people", ("eve", "bob", "joe")),
    ):
        for c, name in enumerate(names):
            for k in range(4):
                draw(root / folder / name / f"{k}.png", CHARACTERS[c], k)
    for c, name in enumerate(("sun", "star", "house")):
        draw(root / "labelled" / name / "0.png", 60 * c, 5)
        draw(root / "probes" / ("eve", "bob", "joe")[c] / "0.png", 60 * c, 6)
        for folder in ("new-photos", "new-drawings", "photos"):
            draw(root / folder / f"new{c}.png", 60 * c, 7)
    for k in range(20):
        draw(root / "other-birds" / f"{k}.png", 5 + 3 * k, 0)
        draw(root / "other-parts" / f"{k}.png", 5 + 3 * k, 1)
        draw(root / "others" / str(k) / "0.png", 5 + 3 * k, 2)
    draw(root / "probes" / "impostor" / "0.png", 190, 0)
    for k in (1, 2, 3):
        draw(root / f"owl{k}.jpg", 150, k)
        draw(root / f"ada{k}.jpg", 150, k)
        draw(root / f"moon{k}.png", 150, k)
    draw(root / "a.png", 0, 8)
    draw(root / "b.png", 60, 8)
    for k in range(12):
        draw(root / "good-parts" / f"{k}.png", 0, k)
    draw(root / "new-parts" / "new.png", 60, 0)
    draw(root / "test" / "good" / "good.png", 0, 13)
    draw(root / "test" / "hole" / "hole.png", 60, 0)
    rows = [f"letters/{name}/{k}.png,{name}" for name in ("sun", "star") for k in range(3)]
    (root / "list.csv").write_text("\n".join(["file,label", *rows]))
    sentences = [
        ("switch the lamp off", "off"),
        ("lamp off please", "off"),
        ("switch the lamp on", "on"),
        ("light on please", "on"),
    ]
    rows = [f"{sentence},{intent}" for sentence, intent in sentences]
    (root / "requests.csv").write_text("\n".join(["sentence,intent", *rows]))
    (root / "new-requests.csv").write_text("sentence\nplease switch it off\n")
    rows = [f"{k % 2 + 0.1 * k},{1 - k % 2},{'oak' if k % 2 else 'elm'}" for k in range(12)]
    for name in ("measured.csv", "new.csv"):
        (root / name).write_text("\n".join(["width,height,kind", *rows]))
    return root


def called(words: list[str]) -> str:
    """What the command prints; ``cat FILE | …`` gives it a file as its input."""
    typed = sys.stdin
    if words[0] == "cat":
        typed = io.TextIOWrapper(io.BytesIO(Path(words[1]).read_bytes()))
        words = words[3:]
    assert words[0] == "quickstudy"
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", words)
        patch.setattr(sys, "stdin", typed)
        patch.delenv("QUICKSTUDY_DATA", raising=False)
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, f"{shlex.join(words)}: {printed.getvalue()}"
    return printed.getvalue()


@pytest.mark.parametrize("page", PAGES)
def test_the_lines_of_a_page_run_one_after_another(
    page: str, material: Path, tmp_path: Path
) -> None:
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    compare = doctest.OutputChecker().check_output
    with contextlib.chdir(tmp_path):
        if page == "command_line":
            called(shlex.split(MAML))
        for line in PAGES[page]:
            if line.begins(NOT_RUN):
                continue
            words = shlex.split(line.as_run())
            if words[1:3] == ["compare", "runs/a"]:
                prepare_runs()
            if page == "command_line" and words[1] == "fit":
                shutil.rmtree(words[words.index("-o") + 1], ignore_errors=True)

            printed = called(words)
            if line.output:
                assert compare(line.output, printed, SAME), f"{line.text} printed:\n{printed}"
            for pattern in line.begins(PRINTS):
                assert re.search(pattern, printed), f"{line.text} printed:\n{printed}"


def prepare_runs() -> None:
    """Two runs and their reports, to be compared."""
    for name in ("a", "b"):
        shutil.copytree("runs/glyphs-protonet", f"runs/{name}")
        shutil.copy("runs/glyphs-protonet/reports/5w1s15q.json", f"{name}.json")


@pytest.mark.parametrize(
    "text",
    sorted({line.text for lines in PAGES.values() for line in lines if line.begins(NOT_RUN)}),
)
def test_lines_that_are_not_run_have_options_that_exist(text: str) -> None:
    words = shlex.split(text, comments=True)
    if words[0] == "quickstudy":
        command = next(entry for entry in COMMANDS if entry.name == words[1]).load()
        command.make_context(words[1], words[2:])
    else:
        assert words[0] in ("make", "pip")


def test_the_tables_name_lines_that_are_there() -> None:
    text = [line.text for lines in PAGES.values() for line in lines]
    for start in (*SHORTENED, *NOT_RUN, *PRINTS):
        assert any(line.startswith(start) for line in text), start
    for old in REPLACED:
        assert any(old in line for line in text), old
