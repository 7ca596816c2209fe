"""Gradient steps that can be differentiated through. Knows nothing of learners: reinforcement learning runs it too."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError
from quickstudy.inner.rules import AbstractRule

Params: TypeAlias = Mapping[str, Tensor]
LossAt: TypeAlias = Callable[[Params, int], Tensor]


class InnerLoop(Described, nn.Module):
    """θ⁽ʲ⁺¹⁾ = θ⁽ʲ⁾ + rule(∇ loss(θ⁽ʲ⁾)), for j = 0 … steps−1.

    Args:
        rule: what a step does with the gradient.
        steps: how many steps.
        first_order: treat the inner gradients as constants, so that the outer gradient has no Hessian in it.
    """

    def __init__(self, rule: AbstractRule, *, steps: int, first_order: bool = False) -> None:
        super().__init__()
        if steps < 0:
            raise ConfigError(f"The number of inner steps cannot be negative, got {steps}.")
        self.rule, self.steps, self.first_order = rule, steps, first_order

    def run(self, params: Params, loss_at: LossAt) -> dict[str, Tensor]:
        """Descend ``loss_at(params, step)`` from ``params``; inside ``torch.no_grad`` the result carries no graph.

        Raises:
            ConfigError: inside ``torch.inference_mode``.
        """
        if torch.is_inference_mode_enabled():
            raise ConfigError("Adapting takes gradients, which torch.inference_mode forbids. Use torch.no_grad(), or adapt outside of it.")
        outer = torch.is_grad_enabled()
        now = {n: p if outer and p.requires_grad else p.detach().requires_grad_() for n, p in params.items()}
        with torch.enable_grad():
            for step in range(self.steps):
                gradients = torch.autograd.grad(loss_at(now, step), list(now.values()), create_graph=outer and not self.first_order)
                now = {n: p + self.rule(n, g, step) for (n, p), g in zip(now.items(), gradients, strict=True)}
                if not outer:
                    now = {n: p.detach().requires_grad_() for n, p in now.items()}
        return now if outer else {n: p.detach() for n, p in now.items()}
