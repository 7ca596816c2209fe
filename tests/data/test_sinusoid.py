import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.describe import describe, rebuild
from quickstudy.core.errors import DataError, EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Examples, Reals
from quickstudy.data.sinusoid import Sinusoid

SETTING = Setting(n_way=0, n_shot=10, n_query=20)


def amplitudes_and_phases(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    """By least squares: A sin(x − φ) = a sin x + b cos x with a = A cos φ and b = −A sin φ."""
    x = examples.x.double()
    solution = torch.linalg.lstsq(torch.cat([x.sin(), x.cos()], -1), examples.y.double()).solution[
        ..., 0
    ]
    return solution.norm(dim=1), torch.atan2(-solution[:, 1], solution[:, 0])


def test_shapes() -> None:
    episode = Sinusoid().tasks("train", SETTING).batch(range(4))
    assert episode.support.x.shape == episode.support.y.shape == (4, 10, 1)
    assert episode.query.x.shape == episode.query.y.shape == (4, 20, 1)
    assert {t.dtype for e in (episode.support, episode.query) for t in (e.x, e.y)} == {
        torch.float32
    }
    assert episode.target == Reals(1)
    assert Sinusoid().shape == (1,)


def test_support_and_query_lie_on_the_same_sine_wave() -> None:
    episode = Sinusoid().tasks("train", SETTING).batch(range(50))
    (a, phi) = amplitudes_and_phases(episode.support)
    (a2, phi2) = amplitudes_and_phases(episode.query)
    torch.testing.assert_close(a, a2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(a * phi.sin(), a2 * phi2.sin(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        episode.query.y[:, :, 0].double(),
        a[:, None] * (episode.query.x[:, :, 0] - phi[:, None]).sin(),
        rtol=1e-3,
        atol=1e-3,
    )


def test_the_law() -> None:
    episode = Sinusoid().tasks("train", Setting(0, 30, 1)).batch(range(2000))
    a, phi = amplitudes_and_phases(episode.support)
    x = episode.support.x
    for values, low, high in ((a, 0.1, 5.0), (phi, 0.0, math.pi), (x.flatten(), -5.0, 5.0)):
        assert low - 1e-3 <= values.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < values.max() <= high + 1e-3
        assert abs(float(values.mean()) - (low + high) / 2) < 0.03 * (high - low)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), st.integers(0, 3), st.booleans())
def test_a_task_depends_on_its_number_alone(
    numbers: list[int], seed: int, half_range: bool
) -> None:
    tasks = Sinusoid(half_range=half_range).tasks("val", SETTING, seed=seed)
    together = tasks.batch(numbers)
    for t, number in enumerate(numbers):
        alone = tasks.batch([number])
        assert torch.equal(alone.support.x[0], together.support.x[t])
        assert torch.equal(alone.query.y[0], together.query.y[t])


def test_more_shots_are_the_same_task() -> None:
    five, ten = (Sinusoid().tasks("test", Setting(0, k, 7)).batch([3]) for k in (5, 10))
    assert torch.equal(ten.support.x[:, :5], five.support.x)
    assert torch.equal(ten.query.y, five.query.y)


def test_splits_seeds_and_numbers_are_different_tasks() -> None:
    data = Sinusoid()
    drawn = [
        data.tasks(split, SETTING, seed=seed).batch([i]).support.x
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for i in (0, 1)
    ]
    assert len({tuple(x.flatten().tolist()) for x in drawn}) == len(drawn)


def test_tasks_stay_as_they_are() -> None:
    episode = Sinusoid().tasks("test", Setting(0, 2, 1)).batch([0])
    torch.testing.assert_close(
        episode.support.x.flatten(), torch.tensor([1.4413508, 0.9312649]), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(
        episode.query.y.flatten(), torch.tensor([0.7784414]), rtol=0, atol=1e-5
    )


def test_half_range() -> None:
    episode = Sinusoid(half_range=True).tasks("train", SETTING).batch(range(200))
    support, query = episode.support.x[..., 0], episode.query.x[..., 0]
    right = support[:, 0] >= 0
    assert torch.equal(support >= 0, right[:, None].expand_as(support))
    assert torch.equal(query >= 0, ~right[:, None].expand_as(query))
    assert 60 < int(right.sum()) < 140
    assert support.abs().max() <= 5
    assert support.abs().max() > 4.9


def test_the_wave_does_not_depend_on_half_range() -> None:
    whole, half = (
        amplitudes_and_phases(
            Sinusoid(half_range=h).tasks("train", SETTING).batch(range(5)).support
        )
        for h in (False, True)
    )
    torch.testing.assert_close(whole, half, rtol=1e-3, atol=1e-3)


def test_the_hash_names_the_law() -> None:
    hashes = {
        Sinusoid(half_range=h).tasks(split, SETTING).split_hash
        for h in (False, True)
        for split in ("train", "test")
    }
    assert len(hashes) == 2
    assert all(len(h) == 12 for h in hashes)
    tasks = Sinusoid().tasks("test", SETTING, seed=5)
    assert (tasks.data, tasks.split, tasks.seed, tasks.setting, tasks.uniform) == (
        "sinusoid",
        "test",
        5,
        SETTING,
        True,
    )


def test_batches() -> None:
    sizes = [episode.n_tasks for episode in Sinusoid().tasks("train", SETTING).batches(range(7), 3)]
    assert sizes == [3, 3, 1]


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"sinusoid has no split 'tset'\. Did you mean 'test'\?"):
        Sinusoid().tasks("tset", SETTING)
    with pytest.raises(EpisodeError, match="regression problem, so n_way must be 0, got 5"):
        Sinusoid().tasks("test", Setting(5, 1, 1))


def test_description() -> None:
    again = rebuild(describe(Sinusoid(half_range=True)))
    assert isinstance(again, Sinusoid)
    assert again.half_range
