"""The objective of most of few-shot learning: be right on the queries."""

from typing import Any

from torch import Tensor

from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Episode


class QueryLoss(AbstractObjective):
    """The mean over tasks of the target's loss on the queries: cross entropy, or squared error."""

    def forward(self, learner: AbstractLearner[Any], batch: Episode) -> Tensor:
        return batch.target.loss(learner(batch), batch.query.y).mean()
