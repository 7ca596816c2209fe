"""What one inner step does with a gradient."""

import abc

import torch
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError


class AbstractRule(Described, nn.Module, abc.ABC):
    """From the gradient of one parameter tensor to the step to add to it."""

    @abc.abstractmethod
    def forward(self, name: str, gradient: Tensor, step: int) -> Tensor:
        """The change of the parameter called ``name`` at inner step ``step`` (from 0)."""

    def update(self, name: str, parameter: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The parameter after the step; a rule may say the same sum in fewer operations."""
        return parameter + self(name, gradient, step)


class FixedRate(AbstractRule):
    """Gradient descent with one fixed rate for everything.

    Args:
        lr: the rate, for a loss that is the *mean* over the support. The published MAML code divides the sum by K instead of
            N·K, so its rates must be multiplied by N: 0.4 at 5-way is 2.0 here.
    """

    def __init__(self, lr: float) -> None:
        super().__init__()
        if not lr > 0:
            raise ConfigError(f"An inner learning rate must be above 0, got {lr}.")
        self.lr = lr

    def forward(self, name: str, gradient: Tensor, step: int) -> Tensor:
        return gradient * -self.lr

    def update(self, name: str, parameter: Tensor, gradient: Tensor, step: int) -> Tensor:
        return torch.add(parameter, gradient, alpha=-self.lr)
