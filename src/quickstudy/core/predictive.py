"""Learners whose answer to a query is a distribution, not a number alone."""

import abc
from typing import Protocol, TypeVar, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from quickstudy.core.learner import AbstractLearner

State = TypeVar("State")


@runtime_checkable
class Distribution(Protocol):
    """A distribution of each of many numbers, as those of ``torch.distributions``."""

    @property
    def mean(self) -> Tensor: ...

    @property
    def stddev(self) -> Tensor: ...

    def log_prob(self, value: Tensor) -> Tensor: ...


class AbstractPredictive(AbstractLearner[State], abc.ABC):
    """A learner that says for each query how likely every number is. Of a regression, `predict`
    gives the mean.
    """

    @abc.abstractmethod
    def distribution(self, state: State, x: Float[Tensor, "T Q *S"]) -> Distribution:
        """The predictive distribution of each query's numbers, ``[T Q O]``.

        Args:
            state: what `adapt` returned for a regression task.
            x: the queries.
        """
