import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.kernels.colour import colour_block
from quickstudy.kernels.convolution import Direct, convolve

pytest.importorskip("numba")
winograd = pytest.importorskip("quickstudy.kernels.winograd")
WIDTH = winograd.COLUMNS


def case(n, height, width, n_in, n_out, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, n_in, height, width, generator=g).contiguous(
        memory_format=torch.channels_last
    )
    return x, torch.randn(n_out, n_in, 3, 3, generator=g)


@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 3),
)
@settings(max_examples=25, deadline=None)
def test_equal_to_a_direct_convolution_in_float64_twice_differentiated(
    twice, n, height, width, i, o
):
    x, weight = case(n, height, width, WIDTH * i, WIDTH * o)
    assert winograd.fits(x, weight)
    ours = twice(convolve, x, weight)
    direct = twice(lambda a, w: F.conv2d(a, w, padding=1), x.double(), weight.double())
    for a, b in zip(ours, direct, strict=True):
        error = (a - b).abs().max() / b.abs().max()
        assert error < 5e-6


def test_rounds_no_worse_than_a_direct_convolution(twice):
    x, weight = case(25, 14, 14, 64, 64)
    exact = twice(lambda a, w: F.conv2d(a, w, padding=1), x.double(), weight.double())
    direct = twice(lambda a, w: F.conv2d(a, w, padding=1), x, weight)
    for a, b, e in zip(twice(convolve, x, weight), direct, exact, strict=True):
        assert (a - e).abs().mean() < 4 * (b - e).abs().mean()


def test_an_image_answers_the_same_alone_as_in_a_batch():
    x, weight = case(37, 5, 7, WIDTH, 2 * WIDTH)
    together = convolve(x, weight)
    for k in (0, 18, 36):
        assert torch.equal(convolve(x[k : k + 1], weight)[0], together[k])


def test_threads_change_no_bit(twice, equal_by_threads, monkeypatch):
    monkeypatch.setattr(winograd, "_WINDOWS_PER_THREAD", 7)
    x, weight = case(11, 8, 6, 2 * WIDTH, 3 * WIDTH)
    assert equal_by_threads(lambda: twice(convolve, x, weight))


def test_serves_blocks_whose_images_take_no_gradient(twice, monkeypatch):
    x, weight = case(5, 9, 8, WIDTH, 2 * WIDTH)
    g = torch.Generator().manual_seed(0)
    p = weight, *torch.randn(2, 2 * WIDTH, generator=g)
    for name in ("forward", "backward"):
        monkeypatch.setattr(Direct, name, None)
    ours = twice(lambda *p: colour_block(x, *p, 1e-5)[0], *p)

    def plain(x, w, gamma, beta):
        z = F.batch_norm(F.conv2d(x, w, padding=1), None, None, gamma, beta, True, 0.1, 1e-5)
        return F.max_pool2d(F.relu(z), 2)

    exact = twice(lambda *p: plain(x.double(), *p), *(t.double() for t in p))
    for a, b in zip(ours, exact, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()


def test_the_layout_of_the_weight_changes_no_bit(twice):
    x, weight = case(2, 6, 6, WIDTH, WIDTH)
    other = weight.contiguous(memory_format=torch.channels_last)
    for a, b in zip(twice(convolve, x, weight), twice(convolve, x, other), strict=True):
        assert torch.equal(a, b)


def test_a_nan_stays_one_and_leaves_other_images_alone():
    x, weight = case(3, 6, 6, WIDTH, WIDTH)
    x[1, 0, 2, 3] = float("nan")
    z = convolve(x, weight)
    assert z[1].isnan().any()
    assert z[[0, 2]].isfinite().all()


def test_no_images_at_all():
    x, weight = case(0, 6, 6, WIDTH, WIDTH)
    weight.requires_grad_()
    z = convolve(x, weight)
    assert z.shape == (0, WIDTH, 6, 6)
    z.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_channels_that_fill_no_vector_and_other_numbers_are_left_to_torch():
    x, weight = torch.zeros(2, WIDTH, 6, 6), torch.zeros(2 * WIDTH, WIDTH, 3, 3)
    assert winograd.fits(x, weight)
    assert not winograd.fits(x, weight[1:])
    assert not winograd.fits(x[:, 1:], weight[:, 1:])
    assert not winograd.fits(x.double(), weight.double())
    assert not winograd.fits(x, torch.zeros(WIDTH * 1000, WIDTH, 3, 3))


def test_numbers_and_channels_that_do_not_belong_together_are_an_error():
    x, weight = torch.zeros(2, WIDTH, 6, 6), torch.zeros(WIDTH, WIDTH, 3, 3)
    for wrong in (x.double(), torch.zeros(2, 2 * WIDTH, 6, 6)):
        with pytest.raises(RuntimeError):
            convolve(wrong, weight)
