"""The fused block against the operations it replaces, in float64: value, gradient, gradient of a
gradient.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.errors import TrainingError
from quickstudy.kernels import backend, norm_relu_pool

EPS = 1e-5
FORMS = ("torch", "numba")


def plain(z, gamma, beta):
    return F.max_pool2d(F.relu(F.batch_norm(z, None, None, gamma, beta, True, 0.1, EPS)), 2)


def fused(z, gamma, beta):
    return norm_relu_pool(z, gamma, beta, EPS)[0]


def tensors(n, c, h, w, seed, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(n, c, h, w, generator=g, dtype=dtype)
    z[0] = z[0].round()  # ties
    # γ of both signs
    return (
        z,
        torch.randn(c, generator=g, dtype=dtype),
        torch.randn(c, generator=g, dtype=dtype),
    )


def furthest(ours, theirs):
    return max(
        ((a - b).norm() / b.norm().clamp_min(1e-12)).item()
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25)
@given(
    n=st.integers(1, 4),
    c=st.integers(1, 18),
    h=st.integers(2, 9),
    w=st.integers(2, 9),
    seed=st.integers(0, 1000),
)
def test_equal_to_the_plain_operations_twice_differentiated(twice, form, n, c, h, w, seed):
    z, gamma, beta = tensors(n, c, h, w, seed)
    with backend(form):
        assert furthest(twice(fused, z, gamma, beta), twice(plain, z, gamma, beta)) < 1e-9


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(5, 64, 28, 28), (4, 32, 21, 21)])
def test_equal_at_the_sizes_of_the_literature(twice, form, shape):
    z, gamma, beta = tensors(*shape, seed=0)
    with backend(form):
        assert furthest(twice(fused, z, gamma, beta), twice(plain, z, gamma, beta)) < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_single_precision_is_as_good_as_the_plain_operations(twice, form):
    z, gamma, beta = tensors(6, 16, 8, 8, seed=2)
    exact = twice(plain, z, gamma, beta)
    with backend(form):
        ours = twice(fused, *(t.float() for t in (z, gamma, beta)))
    assert all(t.dtype == torch.float32 for t in ours)
    assert furthest((t.double() for t in ours), exact) < 1e-4


@pytest.mark.parametrize("form", [*FORMS, "plain"])
def test_the_statistics_come_along(form):
    z, gamma, beta = tensors(3, 5, 6, 6, seed=3)
    with backend(form):
        _, mean, rstd = norm_relu_pool(z.requires_grad_(), gamma, beta, EPS)
    torch.testing.assert_close(mean, z.detach().mean((0, 2, 3)))
    torch.testing.assert_close(rstd, (z.detach().var((0, 2, 3), correction=0) + EPS).rsqrt())
    assert not mean.requires_grad
    assert not rstd.requires_grad


@pytest.mark.parametrize("form", FORMS)
def test_a_nan_stays_one_and_stays_in_its_channel(form):
    z, gamma, beta = tensors(2, 4, 6, 6, seed=4)
    z[0, 1, 2, 2] = float("nan")
    with backend(form):
        y = fused(z, gamma, beta)
    assert y[:, 1].isnan().all()
    assert not y[:, [0, 2, 3]].isnan().any()


@pytest.mark.parametrize("form", [*FORMS, "plain"])
def test_without_scale_and_shift(form):
    z, _, _ = tensors(2, 3, 4, 4, seed=5)
    with backend(form):
        torch.testing.assert_close(norm_relu_pool(z, None, None, EPS)[0], plain(z, None, None))


@pytest.mark.parametrize("form", FORMS)
def test_any_layout_of_memory_will_do(form):
    z, gamma, beta = tensors(3, 4, 6, 5, seed=6)
    with backend(form):
        wanted = fused(z, gamma, beta)
        for other in (
            z.contiguous(memory_format=torch.channels_last),
            z.transpose(2, 3).contiguous().transpose(2, 3),
            torch.cat((z, z))[:3],
        ):
            torch.testing.assert_close(fused(other, gamma, beta), wanted)
        torch.testing.assert_close(fused(z, gamma.repeat_interleave(2)[::2], beta), wanted)


@pytest.mark.parametrize("form", FORMS)
def test_a_third_derivative_is_refused_and_the_plain_form_has_it(form):
    z, gamma, beta = tensors(2, 2, 4, 4, seed=7)

    def third():
        x = z.clone().requires_grad_()
        for _ in range(3):
            y = torch.autograd.grad(
                fused(x, gamma, beta).pow(3).sum() if _ == 0 else y.pow(2).sum(),
                x,
                create_graph=True,
            )[0]
        return y

    with backend(form), pytest.raises(TrainingError, match="third derivative"):
        third()
    with backend("plain"):
        assert third().isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_finite_differences_agree(form):
    z, gamma, beta = (t.requires_grad_() for t in tensors(2, 3, 4, 5, seed=8))
    with backend(form):
        z = torch.randn(
            2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        ).requires_grad_()
        assert torch.autograd.gradcheck(fused, (z, gamma, beta), fast_mode=True)
        assert torch.autograd.gradgradcheck(fused, (z, gamma, beta), fast_mode=True)
