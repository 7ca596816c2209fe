"""The steps of CONTRIBUTING.md name what there is, and those for an algorithm add one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quickstudy

SOURCE = Path(quickstudy.__file__).parent
ROOT = SOURCE.parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS = ["an algorithm", "a data set", "an encoder that is trained here"]
SECTIONS += ["a pretrained encoder", "an index of galleries", "a command"]


def files_of(section: str) -> list[str]:
    """The files that a section "Add …" says a new part touches."""
    _, _, rest = TEXT.partition(f"## Add {section}\n")
    return re.findall(r"^\| `([^`]+)` \|", rest.partition("\n## ")[0], re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_files_that_a_new_part_touches_are_there(section: str) -> None:
    files = files_of(section)
    assert len(files) >= 5
    for name in files:
        path = ROOT / re.sub(r"FAMILY", "metric", name)
        assert (path.parent if "NAME" in name else path).exists(), f"{section}: {name}"


METHOD = '''"""A throw-away method: the nearest class mean."""

import torch.nn.functional as F

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.learner import AbstractLearner, Traits


class ThrowAway(AbstractLearner):
    """A query goes to the class whose mean is nearest.

    Example: none. Paper: none. Differs: nothing.
    """

    def __init__(self, encoder: AbstractEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.traits = Traits(transductive=encoder.transductive)

    def adapt(self, support, target, query_x=None):
        z, context = self.encoder.read(support.x)
        member = F.one_hot(support.y, target.width).to(z.dtype)
        return member.mT @ z / member.sum(1)[:, :, None], context

    def predict(self, state, x):
        means, context = state
        z = self.encoder(x, context)
        return -(z[:, :, None] - means[:, None]).square().sum(-1)
'''

RECIPE = '''"""A recipe of the throw-away method."""

import dataclasses

from quickstudy.recipes.glyphs import glyphs_protonet
from quickstudy.recipes.recipe import Part, Recipe


def glyphs_throw_away() -> Recipe:
    """The throw-away method on characters."""
    return dataclasses.replace(
        glyphs_protonet(), name="glyphs-throw-away", learner=Part("throw_away")
    )
'''

ORACLE = """import torch
import quickstudy as qs


def test_an_example_of_each_class_is_its_mean():
    support = qs.Examples.single(torch.eye(2), torch.tensor([0, 1]))
    learner = qs.algorithms.ThrowAway(qs.encoders.Identity(2))
    scores = learner.fit(support, qs.Classes(2))(torch.eye(2))
    assert scores.tolist() == [[0.0, -2.0], [-2.0, 0.0]]
"""

SHOW = """
import pytest
import quickstudy as qs
from quickstudy.algorithms import ALGORITHMS
from quickstudy.testing import toy_learner
qs.check_learner(toy_learner("throw_away"), builder=ALGORITHMS["throw_away"])
assert pytest.main(["-q", "-p", "no:cacheprovider", "tests"]) == 0
print(qs.recipe_named("glyphs-throw-away").build_learner().__class__.__name__)
"""


def inserted(text: str, before: str, line: str) -> str:
    """A text with one more line."""
    assert text.count(before) == 1
    return text.replace(before, f"{line}\n{before}")


def test_an_algorithm_is_added_by_the_steps_as_they_are_written(tmp_path: Path) -> None:
    new = {
        "src/quickstudy/algorithms/FAMILY/NAME.py": METHOD,
        "src/quickstudy/recipes/NAME.py": RECIPE,
        "tests/algorithms/FAMILY/test_NAME.py": ORACLE,
    }
    room = "quickstudy.algorithms.metric"
    changed = {
        "src/quickstudy/algorithms/__init__.py": [
            (
                f"    from {room}.simple_cnaps import SimpleCNAPs as SimpleCNAPs",
                f"    from {room}.throw_away import ThrowAway as ThrowAway",
            ),
            ('        "simple_cnaps": "SimpleCNAPs",', '        "throw_away": "ThrowAway",'),
        ],
        "src/quickstudy/recipes/registry.py": [
            (
                "from quickstudy.recipes.voices import voices_protonet",
                "from quickstudy.recipes.throw_away import glyphs_throw_away",
            ),
            (
                '    "glyphs-fomaml": glyphs_fomaml,',
                '    "glyphs-throw-away": glyphs_throw_away,',
            ),
        ],
        "docs/get_started/choose.md": [],
        "CHANGELOG.md": [],
    }
    assert sorted(files_of("an algorithm")) == sorted([*new, *changed])

    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, tmp_path / "src" / "quickstudy", ignore=skip)
    for name, content in new.items():
        path = tmp_path / name.replace("FAMILY", "metric").replace("NAME", "throw_away")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for name, lines in changed.items():
        for before, line in lines:
            path = tmp_path / name
            text = inserted(path.read_text(encoding="utf-8"), before, line)
            path.write_text(text, encoding="utf-8")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path / "src"), "PATH": "", "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert run("-c", SHOW).splitlines()[-1] == "ThrowAway"
    assert "  throw_away " in run("-m", "quickstudy", "list", "algorithms", "--family", "metric")
    assert "  glyphs-throw-away " in run("-m", "quickstudy", "list", "--family", "metric")
