"""Closed choices are enumerations, equal to what the library takes."""

import re
from typing import Any, get_args

import pytest

from quickstudy.anomaly import patch_memory
from quickstudy.bench import AXES, PEERS, WORKLOADS, suites
from quickstudy.cli import choices
from quickstudy.cli.app import COMMANDS
from quickstudy.core.worker_kinds import WORKER_KINDS
from quickstudy.data import folder
from quickstudy.encoders.norm import NORMS
from quickstudy.estimators import fit
from quickstudy.gallery import files, indexes, policy
from quickstudy.metrics import open_set
from quickstudy.pretrained.files import _ON_BAD
from quickstudy.training.trackers import TRACKERS

_LIBRARY = {
    choices.Head: fit.HEADS,
    choices.FolderKind: ("auto", *folder._KINDS),
    choices.Norm: tuple(NORMS),
    choices.Split: folder._SPLITS,
    choices.SuiteName: suites.SUITES,
    choices.UnknownScore: open_set.SCORES,
    choices.WorkersKind: WORKER_KINDS,
    choices.OutputScore: tuple(open_set.MEMBERSHIP),
    choices.TemplateScore: policy.SCORES,
    choices.GalleryIndex: indexes.INDEXES,
    choices.PatchScore: patch_memory.SCORES,
    get_args(choices.OnBad)[0]: _ON_BAD,
    get_args(choices.OnPoor)[0]: files.ON_POOR,
}
_VOCABULARIES = [set(values) for values in _LIBRARY.values()] + [
    set(get_args(choices.Format)),
    set(get_args(choices.Device)),
]
# What stands for any name: here a few of them are examples.
_OPEN = re.compile(r"e\.g\.|owner/name|OWNER/NAME")


@pytest.mark.parametrize(("choice", "values"), _LIBRARY.items(), ids=str)
def test_choices_are_those_of_the_library(choice: Any, values: tuple[str, ...]) -> None:
    assert get_args(choice) == values


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (choices.AxisName, AXES),
        (choices.PeerName, PEERS),
        (choices.TrackerName, TRACKERS),
        (choices.WorkloadName, WORKLOADS),
    ],
)
def test_enumerations_are_the_registries(choice: Any, names: Any) -> None:
    assert [member.value for member in choice] == list(names)


def parameters(command: Any, name: str) -> list[tuple[str, Any]]:
    """Every parameter of a command and of the commands below it."""
    below = getattr(command, "commands", {})
    own = [(f"{name} {parameter.name}", parameter) for parameter in command.params]
    return own + [p for key, sub in below.items() for p in parameters(sub, f"{name} {key}")]


def takes_any_text(annotation: Any) -> bool:
    """Whether an option is of type str, perhaps None or several times."""
    return annotation is str or any(takes_any_text(part) for part in get_args(annotation))


def listed_by_hand(text: str) -> bool:
    """Whether a help text names two values of a closed choice, or is a list of words."""
    if _OPEN.search(text):
        return False
    words = re.findall(r"[A-Za-z_0-9]+", text)
    is_list = re.fullmatch(r"(.*: )?\w+(, \w+)*,? (or|and) \w+\.?", text) is not None
    return is_list or any(len(vocabulary & set(words)) >= 2 for vocabulary in _VOCABULARIES)


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: entry.name)
def test_no_text_option_lists_closed_choices_in_its_help(entry: Any) -> None:
    found = [
        (name, parameter.help)
        for name, parameter in parameters(entry.load(), entry.name)
        if takes_any_text(parameter.type_descriptor.annotation)
        and listed_by_hand(parameter.help or "")
    ]
    assert found == []


def test_the_walk_meets_options_of_text_and_choices() -> None:
    by_name = {entry.name: entry for entry in COMMANDS}
    fit_options = dict(parameters(by_name["fit"].load(), "fit"))
    assert takes_any_text(fit_options["fit encoder"].type_descriptor.annotation)
    assert not takes_any_text(fit_options["fit head"].type_descriptor.annotation)
    assert "gallery policy set score" in dict(parameters(by_name["gallery"].load(), "gallery"))


@pytest.mark.parametrize(
    ("text", "is_listed"),
    [
        ("auto, cpu or cuda.", True),
        ("table, csv, or jsonl: one JSON object per line.", True),
        ("Files that cannot be read: refuse them all, or skip and name them.", True),
        ("With --unknown: max_similarity, energy or max_probability.", True),
        ("red or blue.", True),
        ("Where it runs, as torch calls it, e.g. cpu or cuda:1.", False),
        ("Of a table: the column with the class; default label.", False),
    ],
)
def test_the_rule_tells_a_list_from_a_sentence(text: str, is_listed: bool) -> None:
    assert listed_by_hand(text) is is_listed
