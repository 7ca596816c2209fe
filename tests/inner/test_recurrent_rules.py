"""The memory cell that all numbers share, beside torch's."""

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from quickstudy.inner.recurrent_rules import CoordinateLSTM, preprocessed
from quickstudy.inner.rules import StepInputs


def _drawn(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _step(rule: CoordinateLSTM, memory: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor, ...]:
    start = {"w": torch.zeros_like(g)}
    after, memory = rule(StepInputs(0, start, {"w": g}, torch.zeros(1)), memory)
    return after["w"], *memory


def test_the_cell_is_that_of_torch() -> None:
    rule = CoordinateLSTM(hidden=3, scale=1.0).double()
    g = _drawn(5)
    memory = tuple(_drawn(4, 3, 5))
    out, h1, c1, h2, c2 = _step(rule, memory, g)
    before = [m.T for m in memory]
    first = rule.first(preprocessed(g), (before[0], before[1]))
    second = rule.second(first[0], (before[2], before[3]))
    expected = rule.out(second[0])[:, 0]
    for found, wanted in zip((out, h1, c1, h2, c2), (expected, *first, *second), strict=True):
        torch.testing.assert_close(found.movedim(0, -1), wanted, rtol=1e-12, atol=1e-12)
    weights = list(rule.parameters())
    of_rule = torch.autograd.grad((out**2).sum() + (c1 * h2).sum(), weights)
    of_torch = torch.autograd.grad((expected**2).sum() + (first[1] * second[0]).sum(), weights)
    for found, wanted in zip(of_rule, of_torch, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_the_derivatives_of_the_cell_are_those_of_differences() -> None:
    rule = CoordinateLSTM(hidden=2, scale=1.0).double()
    g = _drawn(3)

    def step(*memory: Tensor) -> tuple[Tensor, ...]:
        return _step(rule, memory, g)

    memory = tuple(m.clone().requires_grad_() for m in _drawn(4, 2, 3))
    assert gradcheck(step, memory)
    assert gradgradcheck(step, memory)
