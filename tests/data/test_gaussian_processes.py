import math

import pytest
import torch

from quickstudy.core.errors import ConfigError, DataError, EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.data import GaussianProcesses

FIXED = Setting(0, 5, 20)


def test_a_curve_is_the_same_in_any_batch():
    tasks = GaussianProcesses(points=20).tasks("test", FIXED, seed=3)
    alone, several = tasks.batch([18]), tasks.batch([16, 18])
    torch.testing.assert_close(alone.support.x[0], several.support.x[1])
    torch.testing.assert_close(alone.query.y[0], several.query.y[1], rtol=1e-4, atol=1e-5)


def test_sizes_are_those_of_the_paper_and_shared_by_a_block():
    tasks = GaussianProcesses(points=50).tasks("train", FIXED)
    sizes = [tasks.size(i) for i in range(0, 16 * 400, 16)]
    assert tasks.size(0) == tasks.size(15)
    assert {min(n for n, _ in sizes), min(q for _, q in sizes)} == {3}
    assert max(n for n, _ in sizes) == 46
    assert max(n + q for n, q in sizes) <= 49
    with pytest.raises(EpisodeError, match="block of 16"):
        tasks.batch(range(64))


@pytest.mark.parametrize("kernel", ["rbf", "matern52", "periodic"])
def test_curves_have_the_kernel_as_their_covariance(kernel):
    """If they have, the decorrelated numbers are standard normal."""
    tasks = GaussianProcesses(kernel=kernel).tasks("val", FIXED)
    _, y, k = tasks._curves(range(400))
    e = torch.linalg.solve_triangular(torch.linalg.cholesky(k), y[..., None], upper=False)
    assert float(e.mean()) == pytest.approx(0, abs=0.04)
    assert float(e.var()) == pytest.approx(1, abs=0.06)


def test_the_exact_likelihood_is_that_of_the_conditional_normal():
    """By hand for one known and one asked point: N(k/K y, K − k²/K)."""
    tasks = GaussianProcesses().tasks("val", Setting(0, 1, 1))
    _, y, k = tasks._curves([7])
    known, across, own = k[0, 0, 0], k[0, 0, 1], k[0, 1, 1]
    mean, variance = across / known * y[0, 0], own - across**2 / known
    by_hand = -0.5 * ((y[0, 1] - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi))
    torch.testing.assert_close(tasks.exact_log_likelihood([7])[0], by_hand)


def test_more_points_say_more():
    few, many = (
        GaussianProcesses().tasks("val", Setting(0, n, 20)).exact_log_likelihood(range(100)).mean()
        for n in (3, 30)
    )
    assert many > few + 1


def test_wrong_wishes_are_refused():
    with pytest.raises(ConfigError, match="matern52"):
        GaussianProcesses(kernel="matern")
    with pytest.raises(ConfigError, match="at least 7"):
        GaussianProcesses(points=6)
    with pytest.raises(DataError, match="split"):
        GaussianProcesses().tasks("tests", FIXED)
    with pytest.raises(EpisodeError, match="n_way"):
        GaussianProcesses().tasks("test", Setting(5, 1, 1))
