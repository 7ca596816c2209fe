"""The objective of most of few-shot learning: be right on the queries."""

from typing import Any

from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Batch, Episode


class QueryLoss(AbstractObjective):
    """The mean over tasks of the target's loss on the queries: cross entropy, or squared error."""

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not isinstance(batch, Episode):
            raise ConfigError(
                "query_loss needs episodes, with support and queries, but got labelled examples. "
                "Train on episodes."
            )
        return batch.target.loss(learner(batch), batch.query.y).mean()
