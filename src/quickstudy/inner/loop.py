"""Gradient steps that can be differentiated through. Knows nothing of learners: reinforcement learning runs it too."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError
from quickstudy.functional.fused.carriers import in_half_precision
from quickstudy.inner.recompute import recomputed
from quickstudy.inner.rules import AbstractRule

Params: TypeAlias = Mapping[str, Tensor]
LossAt: TypeAlias = Callable[[Params, int], Tensor]


class InnerLoop(Described, nn.Module):
    """θ⁽ʲ⁺¹⁾ = θ⁽ʲ⁾ + rule(∇ loss(θ⁽ʲ⁾)), for j = 0 … steps−1.

    Args:
        rule: what a step does with the gradient.
        steps: how many steps.
        first_order: treat the inner gradients as constants, so that the outer gradient has no Hessian in it.
        recompute: forget each step's graph and build it again for its share of the outer gradient. Exact; the memory no longer grows with
            the steps but for the parameters themselves, and a second-order step takes about 1.2 times as long.
    """

    def __init__(self, rule: AbstractRule, *, steps: int, first_order: bool = False, recompute: bool = False) -> None:
        super().__init__()
        if steps < 0:
            raise ConfigError(f"The number of inner steps cannot be negative, got {steps}.")
        self.rule, self.steps, self.first_order, self.recompute = rule, steps, first_order, recompute

    def run(self, params: Params, loss_at: LossAt, *, given: Iterable[Tensor] = ()) -> dict[str, Tensor]:
        """Descend ``loss_at(params, step)`` from ``params``; inside ``torch.no_grad`` the result carries no graph.

        Args:
            params: where to start.
            loss_at: a scalar; for independent tasks the sum of their losses.
            given: with ``recompute``, all else that the loss depends on and that the outer gradient must reach (the rule's own parameters
                need not be named).

        Raises:
            ConfigError: inside ``torch.inference_mode`` or autocast, or when ``given`` leaves out a parameter that the loss depends on.
        """
        if torch.is_inference_mode_enabled():
            raise ConfigError("Adapting takes gradients, which torch.inference_mode forbids. Use torch.no_grad(), or adapt outside of it.")
        if any(in_half_precision(p) for p in params.values()):
            raise ConfigError(
                "An inner loop does not run in half precision: its second derivatives would be 8 to 23 % off. Train with precision=32 "
                "(half precision is for metric learners), or leave autocast before adapting."
            )
        names, now, outer = list(params), list(params.values()), torch.is_grad_enabled()
        if not outer:
            now = [p.detach() for p in now]

        def step(j: int, start: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
            at = dict(zip(names, start, strict=True))
            gradients = torch.autograd.grad(loss_at(at, j), list(start), create_graph=create_graph)
            return [self.rule.update(n, p, g, j) for (n, p), g in zip(at.items(), gradients, strict=True)]

        with torch.enable_grad():
            if outer and self.recompute and not self.first_order:
                return dict(zip(names, recomputed(step, self.steps, now, [*given, *self.rule.parameters()]), strict=True))
            for j in range(self.steps):
                start = [p if outer and p.requires_grad else p.detach().requires_grad_() for p in now]
                now = step(j, start, create_graph=outer and not self.first_order)
                now = now if outer else [p.detach() for p in now]
        return dict(zip(names, now, strict=True))
