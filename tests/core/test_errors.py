import inspect

import pytest

from quickstudy.core import errors
from quickstudy.core.errors import QuickstudyError, did_you_mean

ALL = [
    c
    for _, c in inspect.getmembers(errors, inspect.isclass)
    if issubclass(c, Exception) and not issubclass(c, Warning)
]


def test_the_nearest_spelling_comes_first():
    assert (
        did_you_mean("protnet", ["maml", "protonet"])
        == "Did you mean 'protonet'? Known: maml, protonet."
    )


def test_no_guess_where_nothing_is_near():
    assert did_you_mean("zzz", ["maml", "protonet"]) == "Known: maml, protonet."


def test_nothing_known():
    assert did_you_mean("maml", []) == "Known: none."


def test_known_names_are_sorted_and_may_be_any_iterable():
    assert did_you_mean("q", (n for n in "cab")) == "Known: a, b, c."
    assert did_you_mean("q", {"b": 1, "a": 2}) == "Known: a, b."


@pytest.mark.parametrize("error", ALL, ids=lambda e: e.__name__)
def test_one_base_catches_them_all(error):
    assert issubclass(error, QuickstudyError)
    assert inspect.getdoc(error)
    with pytest.raises(QuickstudyError, match="what came"):
        raise error("what came")


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        ("ConfigError", ValueError),
        ("DataError", ValueError),
        ("EpisodeError", ValueError),
        ("LoadError", ValueError),
        ("TargetError", TypeError),
        ("TransductiveError", TypeError),
        ("TrainingError", RuntimeError),
        ("ContractError", AssertionError),
    ],
)
def test_each_is_also_the_builtin_that_one_would_expect(error, builtin):
    assert issubclass(getattr(errors, error), builtin)
