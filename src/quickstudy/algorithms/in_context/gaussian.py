"""What the neural processes share: networks, and an answer that is a normal distribution."""

import abc
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from quickstudy.core.encoder import AbstractEncoder
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.learner import Traits
from quickstudy.core.predictive import AbstractPredictive
from quickstudy.core.types import Examples, Reals, Target

State = TypeVar("State")

MIN_STD = 0.01
"""The smallest standard deviation that a network can answer with."""


class AbstractNeuralProcess(AbstractPredictive[State], abc.ABC):
    """A network reads the support and answers each query with a normal distribution,

    μ, s = answer(state, x),  σ = 0.01 + softplus(s).

    Args:
        encoder: of the inputs; ``Identity(n)`` for plain numbers.
        n_out: how many numbers an example has to be given.
        width: of the hidden layers.

    Raises:
        ConfigError: for sizes below 1.
    """

    def __init__(self, encoder: AbstractEncoder, *, n_out: int = 1, width: int = 128) -> None:
        super().__init__()
        if n_out < 1 or width < 1:
            raise ConfigError(f"n_out and width must be at least 1, got {n_out} and {width}.")
        self.encoder = encoder
        self.n_out = n_out
        self.width = width
        self.traits = Traits(
            transductive=encoder.transductive,
            targets=frozenset({Reals}),
            any_way=False,
            black_box=True,
        )

    def adapt(self, support: Examples, target: Target, query_x: Tensor | None = None) -> State:
        if target.width != self.n_out:
            raise TargetError(
                f"{type(self).__name__} gives n_out={self.n_out} numbers per example, but the "
                f"task's target is {target}. Build it with n_out={target.width}."
            )
        return self.read(support)

    @abc.abstractmethod
    def read(self, support: Examples) -> State:
        """What queries need of the labelled examples."""

    @abc.abstractmethod
    def answer(self, state: State, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O2"]:
        """Means of the numbers, then what their standard deviations are made of."""

    def distribution(self, state: State, x: Float[Tensor, "T Q *S"]) -> Normal:
        mean, spread = self.answer(state, x).chunk(2, -1)
        return Normal(mean, MIN_STD + F.softplus(spread), validate_args=False)

    def predict(self, state: State, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O"]:
        return self.answer(state, x).chunk(2, -1)[0]


def layers(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them.

    >>> [type(part).__name__ for part in layers([1, 8, 2])]
    ['Linear', 'ReLU', 'Linear']
    """
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def pairs(x: Float[Tensor, "T N D"], y: Float[Tensor, "T N O"]) -> Float[Tensor, "T N DO"]:
    """Examples with their numbers, side by side."""
    return torch.cat((x, y.to(x.dtype)), -1)
