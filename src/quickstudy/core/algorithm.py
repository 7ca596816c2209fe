"""A learning algorithm as two functions: what is learned of a support set, and what is answered."""

import abc
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.types import Examples, Target

State = TypeVar("State")


class AbstractAlgorithm(Described, nn.Module, abc.ABC, Generic[State]):
    """The two methods that every algorithm writes, batched over tasks.

    Algorithms inherit from `quickstudy.core.learner.AbstractLearner`, which adds what users call;
    a `quickstudy.core.predictor.Predictor` needs these two alone.
    """

    @abc.abstractmethod
    def adapt(
        self, support: Examples, target: Target, query_x: Float[Tensor, "T Q *S"] | None = None
    ) -> State:
        """Learn from each task's support. ``query_x`` is passed only to a learner whose traits say
        transductive.
        """

    @abc.abstractmethod
    def predict(self, state: State, x: Float[Tensor, "T Q *S"]) -> Float[Tensor, "T Q O"]:
        """Scores of the queries, higher = more likely (class logits), or predicted values."""
