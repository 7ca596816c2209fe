"""The objective that a learner is trained with unless another one is named."""

from typing import Any

from quickstudy.core.comparing import AbstractComparer
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.online import AbstractOnline
from quickstudy.core.predictive import AbstractPredictive
from quickstudy.objectives.log_likelihood import LogLikelihood
from quickstudy.objectives.online import Online
from quickstudy.objectives.pairs import Pairs
from quickstudy.objectives.query_loss import QueryLoss


def default_objective(learner: AbstractLearner[Any]) -> AbstractObjective:
    """`Pairs` for a learner that compares two examples, `Online` for one that answers while it
    learns, `LogLikelihood` for one that answers with a distribution, `QueryLoss` for all others.

    >>> from quickstudy.algorithms import ProtoNet, Siamese
    >>> from quickstudy.encoders import Identity
    >>> default_objective(ProtoNet(Identity(2))), default_objective(Siamese(Identity(2)))
    (QueryLoss(), Pairs())
    """
    if isinstance(learner, AbstractComparer):
        return Pairs()
    if isinstance(learner, AbstractOnline):
        return Online()
    if isinstance(learner, AbstractPredictive):
        return LogLikelihood()
    return QueryLoss()
