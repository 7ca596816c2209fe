"""Learners that judge pairs: what the objectives of pairs and triplets ask of them."""

import abc
from typing import TypeVar

from jaxtyping import Float
from torch import Tensor

from quickstudy.core.learner import AbstractLearner

State = TypeVar("State")


class AbstractComparer(AbstractLearner[State], abc.ABC):
    """A learner that turns examples into features and says of two how much they look alike, without
    a task.
    """

    @abc.abstractmethod
    def features(self, x: Float[Tensor, "T N *S"]) -> Float[Tensor, "T N D"]:
        """What is compared."""

    @abc.abstractmethod
    def same(self, a: Float[Tensor, "T Q D"], b: Float[Tensor, "T N D"]) -> Float[Tensor, "T Q N"]:
        """How much every feature of one side looks like every one of the other, higher = more."""
