"""The objective of learners that answer with a distribution: give the right answers a high
density.
"""

from typing import Any

from torch import Tensor

from quickstudy.core.arguments import returned_state
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.predictive import AbstractPredictive
from quickstudy.core.types import Batch, Classes, Episode


class LogLikelihood(AbstractObjective):
    """Minus the log density of the queries' numbers, in nats, or minus the log probability of
    their classes; the mean over queries and tasks.
    """

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not isinstance(batch, Episode):
            raise ConfigError(
                "log_likelihood needs episodes, with support and queries, but got labelled "
                "examples. Train on episodes."
            )
        if isinstance(batch.target, Classes):
            return batch.target.loss(learner(batch), batch.query.y).mean()
        if not isinstance(learner, AbstractPredictive):
            raise ConfigError(
                f"log_likelihood needs a learner that answers with a distribution, such as cnp or "
                f"tnp, but {type(learner).__name__} answers with numbers. Use query_loss."
            )
        state = learner.adapt(batch.support, batch.target)
        returned_state(state, learner, batch.n_tasks)
        return -learner.distribution(state, batch.query.x).log_prob(batch.query.y).mean()
