"""The first block of colour images in single precision, against stock operations in double."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quickstudy.kernels.colour import colour_block

pytest.importorskip("numba")
narrow = pytest.importorskip("quickstudy.kernels.narrow")
EPS = 1e-5


def plain(x, w, gamma, beta):
    return F.max_pool2d(
        F.relu(F.batch_norm(F.conv2d(x, w, padding=1), None, None, gamma, beta, True, 0.1, EPS)), 2
    )


def margin(x, weight, gamma, beta):
    """How far the block is from another choice: the largest of each window from the second one, and
    from zero.
    """
    z = F.conv2d(x, weight, padding=1)
    y = F.batch_norm(z, None, None, gamma, beta, True, 0.1, EPS)
    windows = F.unfold(y.flatten(0, 1)[:, None], 2, stride=2)
    first, second = windows.topk(2, dim=1).values.unbind(1)
    return min(float((first - second)[first > 0].amin()), float(first.abs().min()))


def case(n, blocks, height, width, seed=0):
    g = torch.Generator().manual_seed(seed)
    n_out = narrow.COLUMNS * blocks
    x = torch.rand(n, 3, height, width, generator=g)
    weight = torch.randn(n_out, 3, 3, 3, generator=g)
    return x, (weight, torch.randn(n_out, generator=g), torch.randn(n_out, generator=g))


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(1, 4),
    blocks=st.integers(1, 2),
    height=st.integers(2, 30),
    width=st.integers(narrow.ROWS, 25),
    budget=st.sampled_from([10_000, 30_000, 10**6]),
)
def test_equal_to_the_plain_operations_twice_differentiated(
    twice, n, blocks, height, width, budget
):
    x, parameters = case(n, blocks, height, width)
    assert narrow.fits(x, parameters[0])
    doubles = [p.double() for p in parameters]
    # else rounding chooses, with another gradient
    assume(margin(x.double(), *doubles) > 3e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrow, "_BYTES", budget)
        ours = twice(lambda *p: colour_block(x, *p, EPS)[0], *parameters)
    exact = twice(lambda *p: plain(x.double(), *p), *doubles)
    for a, b in zip(ours, exact, strict=True):
        # in a trial of 27,000 examples one in a hundred had gradients of weights off by more than
        # 1e-5, none by more than 2.0e-5
        assert (a - b).norm() <= 4e-5 * b.norm()


def test_the_statistics_are_those_of_the_convolution():
    x, (weight, gamma, beta) = case(3, 1, 12, 14)
    _, mean, rstd = colour_block(x, weight, gamma, beta, EPS)
    z = F.conv2d(x.double(), weight.double(), padding=1)
    variance, exact = torch.var_mean(z, (0, 2, 3), correction=0)
    torch.testing.assert_close(mean.double(), exact, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(rstd.double(), (variance + EPS).rsqrt(), rtol=1e-5, atol=1e-6)


def test_threads_change_no_bit(twice, equal_by_threads):
    x, parameters = case(7, 1, 12, 16)
    assert equal_by_threads(lambda: twice(lambda *p: colour_block(x, *p, EPS)[0], *parameters))


def test_other_images_are_left_to_torch():
    weight = torch.zeros(narrow.COLUMNS, 3, 3, 3)
    assert not narrow.fits(torch.zeros(1, 3, 8, narrow.ROWS - 1), weight)
    assert not narrow.fits(torch.zeros(1, 4, 8, 20), torch.zeros(narrow.COLUMNS, 4, 3, 3))
    assert not narrow.fits(torch.zeros(1, 3, 8, 20), weight.double())
    assert not narrow.fits(torch.zeros(1, 4, 8, 20), weight)
    assert not narrow.fits(torch.zeros(0, 3, 8, 20), weight)
