"""The pieces of a training step, and their gradients."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import TrainingError
from quickstudy.core.rng import drawing, generator
from quickstudy.core.types import Episode

LossAndGradient = tuple[Tensor, tuple[Tensor | None, ...]]
"""A loss and its gradients by the trained parameters; None for those it does not depend on."""


class Piece(NamedTuple):
    """Tasks of a step that share a graph.

    Args:
        step: its number.
        number: of the piece in the step.
    """

    step: int
    number: int
    episode: Episode


@dataclass(frozen=True)
class PieceGradient:
    """A piece's share of the mean loss over the step's tasks, and its gradient. A worker process
    gets it with the module.

    Args:
        seed, tasks_per_step, precision: of the plan.
        compiled: the step as it was recorded.
    """

    seed: int
    tasks_per_step: int
    precision: str
    compiled: CompiledGradient | None = None

    def recorded(self, step: nn.Module, how: str) -> Self:
        """The same, of ``step`` recorded and played back.

        Raises:
            TrainingError: as `CompiledGradient`.
        """
        compiled = CompiledGradient(step, how=how, tasks_per_step=self.tasks_per_step)
        return replace(self, compiled=compiled)

    def __call__(self, step: nn.Module, piece: Piece) -> LossAndGradient:
        """Loss and gradient by the parameters that are trained.

        Raises:
            TrainingError: when the loss depends on none of them.
        """
        parameters = [p for p in step.parameters() if p.requires_grad]
        device = parameters[0].device.type
        seed = generator("train", self.seed, piece.step, piece.number).initial_seed()
        # torch.manual_seed also sees to devices that are not in use, which takes 0.2 ms.
        if device == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)
        if self.compiled:
            loss, gradient = self.compiled(step, piece.episode)
            return loss.float(), gradient
        share = piece.episode.n_tasks / self.tasks_per_step
        own = generator("objective", self.seed, piece.step, piece.number)
        with (
            torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"),
            drawing(own),
        ):
            loss = step(piece.episode) * share
        if not loss.requires_grad:
            raise TrainingError(
                "The loss depends on none of the parameters that are trained. Look for .detach(), "
                ".item(), .data, numpy or torch.no_grad() on the way from them to the answers."
            )
        return loss.detach().float(), torch.autograd.grad(loss, parameters, allow_unused=True)


def added(parts: Sequence[LossAndGradient]) -> tuple[Tensor, list[Tensor | None]]:
    """The sums of losses and gradients, in the order of the parts."""
    gradient: list[Tensor | None] = []
    for of_one_parameter in zip(*(g for _, g in parts), strict=True):
        got = [g for g in of_one_parameter if g is not None]
        gradient.append(functools.reduce(torch.add, got) if got else None)
    return torch.stack([loss for loss, _ in parts]).sum(), gradient


def same(a: LossAndGradient, b: LossAndGradient) -> bool:
    """Whether losses and gradients are equal to the bit."""
    pairs = zip((a[0], *a[1]), (b[0], *b[1]), strict=True)
    return all(x is y if x is None or y is None else torch.equal(x, y) for x, y in pairs)
