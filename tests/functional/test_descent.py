"""Gradients in closed form, beside those of torch."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.functional.descent import (
    SGD,
    Adam,
    cross_entropy_slope,
    descended,
    entropy_slope,
    mean_cross_entropy,
    mean_entropy,
    through_normalise,
    through_softmax,
)


def _drawn(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _of_torch(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    at = x.clone().requires_grad_()
    return torch.autograd.grad(loss(at).sum(), at)[0]


def test_slopes_are_those_of_torch() -> None:
    out, slope = _drawn(2, 5, 3), _drawn(3, 5, 3)[:2]
    y = torch.tensor([[0, 1, 2, 2, 0], [1, 1, 0, 2, 1]])
    target = F.one_hot(y, 3).double()
    pairs = [
        (entropy_slope(out), _of_torch(mean_entropy, out)),
        (
            cross_entropy_slope(out, target),
            _of_torch(lambda o: mean_cross_entropy(o, y), out),
        ),
        (
            through_softmax(out.softmax(-1), slope),
            _of_torch(lambda o: o.softmax(-1) * slope, out),
        ),
        (
            through_normalise(out, slope),
            _of_torch(lambda o: F.normalize(o, dim=-1) * slope, out),
        ),
    ]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_vector_of_length_nothing_has_a_gradient() -> None:
    nothing = torch.zeros(1, 1, 3, dtype=torch.float64)
    slope = torch.ones_like(nothing)
    expected = _of_torch(lambda w: F.normalize(w, dim=-1) * slope, nothing)
    torch.testing.assert_close(through_normalise(nothing, slope), expected)


def test_steps_are_those_of_the_optimisers_of_torch() -> None:
    start = [_drawn(2, 3), _drawn(2, 4)]

    def gradient(*parameters: Tensor) -> tuple[Tensor, ...]:
        return tuple(p**3 for p in parameters)

    options: dict[str, Any] = {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1}
    for step, optimiser in (
        (SGD(0.1, **options), lambda p: torch.optim.SGD(p, lr=0.1, **options)),
        (Adam(0.1), lambda p: torch.optim.Adam(p, lr=0.1)),
    ):
        found = descended(start, [gradient] * 5, step)
        parameters = [p.clone().requires_grad_() for p in start]
        of_torch = optimiser(parameters)
        for _ in range(5):
            for p, g in zip(parameters, gradient(*parameters), strict=True):
                p.grad = g.detach()
            of_torch.step()
        for p, q in zip(found, parameters, strict=True):
            assert torch.equal(p, q.detach())


def test_what_is_seen_has_no_graph_and_the_start_stays() -> None:
    start = torch.ones(1, 2, requires_grad=True)
    seen: list[tuple[int, Tensor]] = []
    (end,) = descended(
        [start],
        [lambda w: (w,)] * 2,
        SGD(0.5),
        seen=lambda i, parameters: seen.append((i, parameters[0].clone())),
    )
    assert [i for i, _ in seen] == [0, 1, 2]
    assert torch.equal(
        torch.cat([p for _, p in seen]), torch.tensor([[1.0], [0.5], [0.25]]) * start
    )
    assert not end.requires_grad
    assert start.eq(1).all()
