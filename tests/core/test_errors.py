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


def test_of_many_names_the_nearest_are_given_and_how_to_list_all():
    known = [f"omniglot-{i}w1s" for i in range(30)]
    said = did_you_mean("omniglot-7w2s", known, listed_by="`quickstudy list`")
    assert said.startswith("Did you mean 'omniglot-7w1s', ")
    assert said.endswith("? All 30: `quickstudy list`.")
    assert said.count("omniglot") == 5
    assert did_you_mean("zzz", known) == "30 are known."


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
