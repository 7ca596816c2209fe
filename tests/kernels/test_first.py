"""The first block on prepared images against convolution, norm, ReLU and pooling, in float64."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.kernels import backend
from quickstudy.kernels.first import Images, first_answer, first_block, gram, prepared

EPS = 1e-5


def plain(x, w, gamma, beta):
    return F.max_pool2d(
        F.relu(F.batch_norm(F.conv2d(x, w, padding=1), None, None, gamma, beta, True, 0.1, EPS)), 2
    )


@settings(max_examples=25)
@given(
    n=st.integers(1, 4),
    c=st.integers(1, 18),
    h=st.integers(2, 9),
    w=st.integers(2, 9),
    seed=st.integers(0, 1000),
)
def test_equal_to_the_plain_operations_twice_differentiated(twice, n, c, h, w, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, h, w, generator=g, dtype=torch.float64) + 0.5
    weight = torch.randn(c, 1, 3, 3, generator=g, dtype=torch.float64)
    gamma = torch.randn(c, generator=g, dtype=torch.float64)
    beta = torch.randn(c, generator=g, dtype=torch.float64)
    ready = prepared(x[None], stride=1, pools=True, measures=True)
    ours = twice(lambda *p: first_block(ready, 0, *p, EPS)[0], weight, gamma, beta)
    for a, b in zip(ours, twice(lambda *p: plain(x, *p), weight, gamma, beta), strict=True):
        assert (a - b).norm() <= 1e-8 * b.norm() + 1e-9


def test_single_precision_with_bright_images():
    """Variance from a Gram matrix is a difference of large numbers: it is kept in double."""
    g = torch.Generator().manual_seed(0)
    x = 5 + 0.1 * torch.rand(20, 1, 28, 28, generator=g)
    weight, one, zero = torch.randn(16, 1, 3, 3, generator=g), torch.ones(16), torch.zeros(16)
    ours, mean, _ = first_block(
        prepared(x[None], stride=1, pools=True, measures=True), 0, weight, one, zero, EPS
    )
    exact = plain(x.double(), weight.double(), one.double(), zero.double())
    assert ((ours.double() - exact).norm() / exact.norm()).item() < 1e-4
    torch.testing.assert_close(
        mean.double(),
        F.conv2d(x.double(), weight.double(), padding=1).mean((0, 2, 3)),
        rtol=1e-5,
        atol=1e-5,
    )


def test_the_gram_matrix_is_that_of_the_columns():
    x = torch.randn(3, 5, 7, dtype=torch.float64)
    _, found, sums = gram(x)
    columns = F.unfold(x[:, None], 3, padding=1).transpose(1, 2).reshape(-1, 9)
    torch.testing.assert_close(found, columns.T @ columns)
    torch.testing.assert_close(sums, columns.sum(0))


@pytest.mark.parametrize("size", [(28, 28), (7, 5)])
def test_an_answer_without_gradient(size):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, *size, generator=g)
    weight = torch.randn(8, 1, 3, 3, generator=g)
    shift = torch.randn(8, generator=g)
    wanted = F.max_pool2d(F.relu(F.conv2d(x, weight, shift, padding=1)), 2)
    torch.testing.assert_close(
        first_answer(F.pad(x[:, 0], (1, 1, 1, 1)), weight, shift), wanted, rtol=1e-4, atol=1e-5
    )


def test_what_is_prepared_depends_on_what_can_use_it():
    grey, colour = torch.rand(2, 3, 1, 8, 8), torch.rand(2, 3, 3, 8, 8)
    with backend("numba"):
        ready = prepared(grey, stride=1, pools=True, measures=True)
        assert isinstance(ready, Images)
        assert (ready.gram.shape, ready.sums.shape, ready.padded.shape, ready.columns) == (
            (2, 9, 9),
            (2, 9),
            (2, 3, 10, 10),
            None,
        )
        assert prepared(grey, stride=1, pools=True, measures=False).gram is None
        assert prepared(grey, stride=2, pools=False, measures=True).columns.shape == (2, 3, 4, 4, 9)
    with backend("torch"):
        assert prepared(grey, stride=1, pools=True, measures=True).columns.shape == (2, 3, 8, 8, 9)
        assert prepared(colour, stride=1, pools=True, measures=True) is colour
        needs_gradient = grey.clone().requires_grad_()
        assert prepared(needs_gradient, stride=1, pools=True, measures=True) is needs_gradient
    with backend("plain"):
        assert prepared(grey, stride=1, pools=True, measures=True) is grey
