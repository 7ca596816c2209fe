"""Margins against pytorch-metric-learning, and what a margin must do."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from quickstudy.functional.margins import arcface, cosface, sphereface

losses = pytest.importorskip(
    "pytorch_metric_learning.losses", reason="pytorch-metric-learning is not installed"
)
C, D, B = 7, 5, 40


def given_features() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    w, z = torch.randn(C, D, generator=g), torch.randn(B, D, generator=g)
    return (
        w,
        z,
        torch.randint(0, C, (B,), generator=g),
        F.normalize(z, dim=1) @ F.normalize(w, dim=1).T,
    )


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.2])
def test_arcface_is_that_of_pytorch_metric_learning(margin: float) -> None:
    w, z, y, cos = given_features()
    theirs = losses.ArcFaceLoss(C, D, margin=math.degrees(margin), scale=16)
    theirs.W.data = w.T
    torch.testing.assert_close(
        F.cross_entropy(arcface(cos, y, scale=16.0, margin=margin), y),
        theirs(z, y),
        rtol=1e-5,
        atol=1e-5,
    )


def test_cosface_is_that_of_pytorch_metric_learning() -> None:
    w, z, y, cos = given_features()
    theirs = losses.CosFaceLoss(C, D, margin=0.35, scale=16)
    theirs.W.data = w.T
    torch.testing.assert_close(
        F.cross_entropy(cosface(cos, y, scale=16.0, margin=0.35), y),
        theirs(z, y),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # theirs, with numpy 2
@pytest.mark.parametrize("margin", [1, 2, 4])
def test_sphereface_is_that_of_pytorch_metric_learning(margin: int) -> None:
    w, z, y, cos = given_features()
    theirs = losses.SphereFaceLoss(C, D, margin=margin, scale=1)
    theirs.W.data = w.T
    torch.testing.assert_close(
        F.cross_entropy(sphereface(cos, y, z.norm(dim=1), margin=margin), y),
        theirs(z, y),
        rtol=1e-4,
        atol=1e-4,
    )


def test_sphereface_by_a_slow_loop_and_blended() -> None:
    _, z, y, cos = given_features()
    out = sphereface(cos, y, z.norm(dim=1), margin=4, blend=5.0)
    for i in range(B):
        for c in range(C):
            value = float(cos[i, c])
            if c == y[i]:
                theta = math.acos(value)
                k = math.floor(theta * 4 / math.pi)
                value = (5 * value + (-1) ** k * math.cos(4 * theta) - 2 * k) / 6
            assert float(out[i, c]) == pytest.approx(float(z[i].norm()) * value, abs=1e-4)


@given(st.floats(-1, 1), st.floats(0, 1.5))
def test_a_margin_never_helps_the_true_class_and_falls_with_the_angle(
    value: float, margin: float
) -> None:
    y = torch.tensor([0])
    cos = torch.tensor([[value, 0.0]], dtype=torch.float64)
    for harder in (
        arcface(cos, y, scale=1.0, margin=margin),
        cosface(cos, y, scale=1.0, margin=margin),
    ):
        assert harder[0, 0] <= value + 1e-6
        assert harder[0, 1] == 0
    grid = torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None].expand(-1, 2)
    assert (
        arcface(grid, torch.zeros(200, dtype=torch.long), scale=1.0, margin=margin)[:, 0].diff()
        >= -1e-9
    ).all()


def test_gradients_are_finite_at_the_poles() -> None:
    for value in (-1.0, 1.0):
        cos = torch.tensor([[value, 0.3]], requires_grad=True)
        y = torch.tensor([0])
        (arcface(cos, y)[0, 0] + sphereface(cos, y, torch.ones(1))[0, 0]).backward()
        assert cos.grad.isfinite().all()
