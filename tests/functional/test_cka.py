import pytest
import torch

from quickstudy.functional.cka import linear_cka


def test_it_is_that_of_the_formula_on_features():
    x, y = torch.randn(20, 5).double(), torch.randn(20, 7).double()
    x0, y0 = x - x.mean(0), y - y.mean(0)
    expected = (y0.T @ x0).norm() ** 2 / ((x0.T @ x0).norm() * (y0.T @ y0).norm())
    assert float(linear_cka(x, y)) == pytest.approx(float(expected))


def test_turning_and_scaling_and_shifting_change_nothing():
    x = torch.randn(20, 5).double()
    turn = torch.linalg.qr(torch.randn(5, 5).double())[0]
    assert float(linear_cka(x, 3 * x @ turn + 1)) == pytest.approx(1.0)
    assert float(linear_cka(x, torch.randn(20, 5).double())) < 0.9
