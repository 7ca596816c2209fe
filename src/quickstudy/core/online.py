"""Learners that are asked while they learn: each example is answered before its label is told."""

import abc
from typing import TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.core.learner import AbstractLearner

State = TypeVar("State")


class AbstractOnline(AbstractLearner[State], abc.ABC):
    """A learner that reads examples one after another; the label of each is told with the next
    one.
    """

    @abc.abstractmethod
    def online(
        self, x: Float[Tensor, "T L *S"], y: Int[Tensor, "T L"], n: int
    ) -> Float[Tensor, "T L C"]:
        """Scores of the classes, for every example of a sequence: they follow from it, and from the
        examples and labels before it.
        """
