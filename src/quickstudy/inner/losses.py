"""What the inner loop descends."""

import abc
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.types import Examples, Target
from quickstudy.inner.rules import Params


@dataclass(frozen=True)
class Attempt:
    """What the learner answers with the parameters of one inner step.

    Attributes:
        step: its number, from 0.
        fast: the adapted parameters, ``[T ...]``; of a single task without the task axis.
        out: the answers to the support, ``[T N O]``.
        support: what was asked, and what would be right.
        query_out: the answers to the queries, for a loss that looks at them.
    """

    step: int
    fast: Params
    out: Float[Tensor, "T N O"]
    support: Examples
    query_out: Float[Tensor, "T Q O"] | None = None


class AbstractInnerLoss(Described, nn.Module, abc.ABC):
    """The loss of each task at an inner step.

    Attributes:
        needs_queries: whether it looks at the (unlabelled) queries, which makes the learner
            transductive.
    """

    needs_queries: bool = False

    @abc.abstractmethod
    def forward(self, attempt: Attempt, target: Target) -> Float[Tensor, " T"]:
        """The loss to take a step by."""


class TargetLoss(AbstractInnerLoss):
    """The task's own loss on its support."""

    def forward(self, attempt: Attempt, target: Target) -> Float[Tensor, " T"]:
        return target.loss(attempt.out, attempt.support.y)
