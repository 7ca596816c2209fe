"""What changes in the course of training reads the time from a clock."""

import torch
from torch import Tensor, nn


class Clock(nn.Module):
    """The number of outer steps done, as a buffer: workers share it and checkpoints keep it. The
    training loop sets it before each step.
    """

    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @property
    def now(self) -> int:
        """Outer steps done."""
        return int(self.steps)


def set_clocks(module: nn.Module, steps: int) -> None:
    """Tell every clock in the module how many outer steps are done.

    >>> clock = Clock()
    >>> set_clocks(nn.ModuleList([clock]), 7)
    >>> clock.now
    7
    """
    for part in module.modules():
        if isinstance(part, Clock):
            part.steps.fill_(steps)


def has_clock(module: nn.Module) -> bool:
    """Whether anything in the module changes in the course of training."""
    return any(isinstance(part, Clock) for part in module.modules())
