import pytest
import torch

from quickstudy.algorithms.in_context.bins import Binned


@pytest.fixture
def binned():
    torch.manual_seed(0)
    borders = torch.tensor([-1.5, -0.5, 0.0, 0.25, 2.0], dtype=torch.float64)
    share = torch.randn(6, dtype=torch.float64).log_softmax(-1)
    mean, scale = torch.tensor(3.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
    return Binned(share, borders, mean, scale)


@pytest.fixture
def grid(binned):
    y = torch.linspace(-20, 25, 200_001, dtype=torch.float64)
    many = Binned(
        binned.log_share.expand(len(y), -1),
        binned.borders,
        binned.mean_of_target.expand(len(y)),
        binned.scale_of_target.expand(len(y)),
    )
    return y, many.log_prob(y).exp()


def test_the_density_integrates_to_one(grid):
    y, density = grid
    assert float(torch.trapezoid(density, y)) == pytest.approx(1, abs=1e-3)


def test_mean_and_deviation_are_those_of_the_density(binned, grid):
    y, density = grid
    mean = float(torch.trapezoid(density * y, y))
    assert float(binned.mean) == pytest.approx(mean, abs=5e-3)
    variance = float(torch.trapezoid(density * (y - mean) ** 2, y))
    assert float(binned.stddev) == pytest.approx(variance**0.5, abs=5e-3)


@pytest.mark.parametrize("q", [0.001, 0.05, 0.3, 0.5, 0.9, 0.999])
def test_below_a_quantile_lies_its_share(binned, grid, q):
    y, density = grid
    below = y <= binned.quantile(q)
    assert float(torch.trapezoid(density[below], y[below])) == pytest.approx(q, abs=2e-3)


def test_quantiles_of_several_numbers_at_once(binned):
    two = Binned(
        torch.stack((binned.log_share, binned.log_share.flip(0))),
        binned.borders,
        torch.tensor([3.0, 0.0], dtype=torch.float64),
        torch.tensor([2.0, 1.0], dtype=torch.float64),
    )
    torch.testing.assert_close(two.quantile(0.3)[0], binned.quantile(0.3))
    assert two.quantile(0.3).shape == (2,)
