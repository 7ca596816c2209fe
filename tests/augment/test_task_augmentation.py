import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.augment import Affine, MoreExamples, RotateClasses
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.testing import toy_episode


def images(**options):
    return toy_episode(shape=(1, 16, 16), **options)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def turn_of(before, after):
    """By how many right angles, or None."""
    return next((k for k in range(4) if torch.equal(torch.rot90(before, k, (1, 2)), after)), None)


@given(seed=st.integers(0, 1000), probability=st.sampled_from([0.3, 0.75, 1.0]))
@settings(max_examples=20, deadline=None)
def test_a_class_is_turned_as_a_whole(seed, probability):
    e = images()
    out = RotateClasses(probability=probability)(e, seeded(seed))
    for t in range(e.n_tasks):
        of_class = [set() for _ in range(4)]
        for old, new in ((e.support, out.support), (e.query, out.query)):
            assert torch.equal(old.y, new.y)
            for x, z, c in zip(old.x[t], new.x[t], old.y[t].tolist(), strict=True):
                of_class[c].add(turn_of(x, z))
        assert all(len(turns) == 1 and None not in turns for turns in of_class)


def test_all_turns_occur_and_about_as_many_classes_as_asked_for():
    e, found = images(n_tasks=200, n_way=5), []
    out = RotateClasses(probability=0.6)(e, seeded(0))
    for t in range(200):
        found += [turn_of(e.query.x[t, i], out.query.x[t, i]) for i in range(5)]
    counts = [found.count(k) / len(found) for k in range(4)]
    assert counts[0] == pytest.approx(0.4, abs=0.06)
    assert counts[1:] == pytest.approx([0.2] * 3, abs=0.06)


@pytest.mark.parametrize("transform", [RotateClasses(), MoreExamples(shots=2, queries=1)])
def test_a_seed_is_a_task(transform):
    a, b, c = (transform(images(), seeded(s)) for s in (1, 1, 2))
    assert torch.equal(a.support.x, b.support.x)
    assert not torch.equal(a.support.x, c.support.x)


@given(shots=st.integers(0, 3), queries=st.integers(0, 3))
@settings(max_examples=16, deadline=None)
def test_copies_come_behind_the_examples_and_keep_their_labels(shots, queries):
    e = images()
    if shots + queries == 0:
        return
    out = MoreExamples(shots=shots, queries=queries)(e, seeded(0))
    for old, new, copies in ((e.support, out.support, shots), (e.query, out.query, queries)):
        n = old.y.shape[1]
        assert new.x.shape[1] == n * (copies + 1)
        assert torch.equal(new.x[:, :n], old.x)
        assert torch.equal(new.y, old.y.repeat(1, copies + 1))
        for k in range(copies):
            assert not torch.equal(new.x[:, (k + 1) * n : (k + 2) * n], old.x)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="above 0 and at most 1, got 0"):
        RotateClasses(probability=0.0)
    with pytest.raises(ConfigError, match="one of them must be above 0, got 0 and 0"):
        MoreExamples(shots=0)
    with pytest.raises(EpisodeError, match="turns square images of classes"):
        RotateClasses()(toy_episode(), seeded(0))
    e = images(target=Reals(1))
    with pytest.raises(EpisodeError, match="turns square images of classes"):
        RotateClasses()(Episode(e.support, e.query, e.target), seeded(0))


def test_unlabelled_examples_are_changed_too_or_the_transform_refuses() -> None:
    x, y = torch.rand(1, 2, 1, 12, 12), torch.tensor([[0, 1]])
    episode = Episode(
        Examples(x, y, unlabelled=torch.rand(1, 6, 1, 12, 12)),
        Examples(x, y),
        Classes(2),
        torch.tensor([[3, 4]]),
    )
    changed = Affine(probability=1.0)(episode, torch.Generator().manual_seed(0))
    assert changed.support.unlabelled.shape == (1, 6, 1, 12, 12)
    assert not torch.equal(changed.support.unlabelled, episode.support.unlabelled)
    assert changed.classes.tolist() == [[3, 4]]
    assert torch.equal(
        MoreExamples()(episode, torch.Generator().manual_seed(0)).support.unlabelled,
        episode.support.unlabelled,
    )
    with pytest.raises(EpisodeError, match="cannot turn unlabelled examples"):
        RotateClasses()(episode, torch.Generator().manual_seed(0))
    labelled = Episode(Examples(x, y), Examples(x, y), Classes(2), torch.tensor([[3, 4]]))
    assert RotateClasses()(labelled, torch.Generator().manual_seed(0)).classes is None
