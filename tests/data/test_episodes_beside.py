"""Unlabelled examples, distractors, a labelled share, and queries that are spread unevenly."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.episodes import Episodes


def dataset(n_classes: int = 8, n: int = 24) -> ClassDataset:
    """An example is the number of its row, and row // n its class."""
    y = np.repeat(np.arange(n_classes), n)
    return ClassDataset(
        "toy",
        "toy/all",
        torch.arange(len(y), dtype=torch.float32)[:, None],
        ClassIndex(y, [f"c{c}" for c in range(n_classes)]),
    )


def rows(x: torch.Tensor) -> list[int]:
    return x[..., 0].long().flatten().tolist()


@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(0, 3), st.sampled_from([0.5, 1.0]))
@settings(max_examples=40)
def test_what_is_beside_the_task_is_of_the_right_classes_and_nothing_comes_twice(
    i: int, n_unlabelled: int, n_distractors: int, labelled: float
) -> None:
    size = Setting(3, 2, 4, n_unlabelled, n_distractors if n_unlabelled else 0, labelled)
    episode = Episodes(dataset(), size).batch([i])
    assert episode.classes is not None
    own = episode.classes[0].tolist()
    assert [own[y] for y in episode.support.y[0].tolist()] == [
        r // 24 for r in rows(episode.support.x)
    ]
    assert [own[y] for y in episode.query.y[0].tolist()] == [r // 24 for r in rows(episode.query.x)]
    every = rows(episode.support.x) + rows(episode.query.x)
    if n_unlabelled:
        beside = rows(episode.support.unlabelled)
        counts = np.bincount([r // 24 for r in beside], minlength=8)
        assert sorted(counts[own].tolist()) == [n_unlabelled] * 3
        assert sorted(np.delete(counts, own).tolist(), reverse=True) == [
            n_unlabelled
        ] * size.n_distractors + [0] * (5 - size.n_distractors)
        every += beside
    else:
        assert episode.support.unlabelled is None
    assert len(set(every)) == len(every)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_support_and_queries_are_the_same_with_and_without_what_is_beside(i: int) -> None:
    plain, more = (
        Episodes(dataset(), s).batch([i, i + 1]) for s in (Setting(3, 2, 4), Setting(3, 2, 4, 5, 2))
    )
    assert torch.equal(plain.support.x, more.support.x)
    assert torch.equal(plain.query.x, more.query.x)
    assert torch.equal(plain.query.y, more.query.y)


def test_the_labelled_share_is_the_same_in_every_task() -> None:
    tasks = Episodes(dataset(), Setting(8, 1, 5, 4, 0, 0.25))
    labelled, others = set(), set()
    for i in range(60):
        episode = tasks.batch([i])
        labelled |= set(rows(episode.support.x)) | set(rows(episode.query.x))
        others |= set(rows(episode.support.unlabelled))
    assert not labelled & others
    assert np.bincount([r // 24 for r in labelled]).tolist() == [6] * 8
    assert np.bincount([r // 24 for r in others]).tolist() == [18] * 8


def test_uneven_queries_have_the_moments_of_the_dirichlet_distribution() -> None:
    size = Setting(4, 2, 5, alpha=2.0)
    episode = Episodes(dataset(), size).batch(range(3000))
    assert episode.query.y.shape == (3000, 20)
    shares = torch.nn.functional.one_hot(episode.query.y, 4).sum(1).double() / 20
    # A share is Beta(α, 3α): mean 1/4, variance (1/4)(3/4) / (4α + 1); rounding to whole queries
    # adds a little.
    assert shares.mean(0).numpy() == pytest.approx(np.full(4, 0.25), abs=0.01)
    assert shares.var(0).numpy() == pytest.approx(np.full(4, 0.1875 / 9), abs=0.0015)
    even = Episodes(dataset(), Setting(4, 2, 5)).batch(range(50))
    assert torch.equal(even.support.x, Episodes(dataset(), size).batch(range(50)).support.x)


def test_too_few_examples_say_what_is_missing() -> None:
    with pytest.raises(
        EpisodeError, match=re.escape("has 24 examples, which leaves 18 for n_unlabelled = 19")
    ):
        Episodes(dataset(), Setting(3, 2, 4, 19))
    with pytest.raises(
        EpisodeError,
        match=re.escape(
            "24 examples (6 of them labelled) but an episode needs n_shot + n_query = 3 + 4 = 7"
        ),
    ):
        Episodes(dataset(), Setting(3, 3, 4, 2, 0, 0.25))
    with pytest.raises(EpisodeError, match=re.escape("n_way + n_distractors = 5 + 4 = 9")):
        Episodes(dataset(), Setting(5, 1, 1, 1, 4))
    with pytest.raises(
        EpisodeError,
        match=re.escape("n_way · n_query, which may all be of one class, = 2 + 25 = 27"),
    ):
        Episodes(dataset(), Setting(5, 2, 5, alpha=2.0))


def test_settings_that_make_no_task() -> None:
    for wrong in (
        {"n_unlabelled": -1},
        {"n_distractors": -1},
        {"alpha": -1.0},
        {"labelled": 0.0},
        {"labelled": 1.5},
    ):
        with pytest.raises(ConfigError, match="cannot be negative"):
            Setting(5, 1, 1, **wrong)
    with pytest.raises(
        ConfigError, match="5 classes of distractors have no example: set n_unlabelled"
    ):
        Setting(5, 1, 1, n_distractors=5)
    assert str(Setting(5, 1, 15, 5, 5)) == "5-way 1-shot, 5 unlabelled and 5 distractor classes"
    assert str(Setting(5, 1, 15, alpha=2.0)) == "5-way 1-shot, Dirichlet(2) queries"
