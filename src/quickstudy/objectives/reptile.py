"""Reptile's objective: be near where learning a task leads."""

from typing import Any

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Batch, Episode, Examples
from quickstudy.inner.learner import GradientLearner


class Reptile(AbstractObjective):
    """½ |θ − sg(θ′)|², the mean over tasks, with θ′ what the inner loop makes of θ. Its gradient is
    Reptile's update, θ − θ′.

    A task's queries are examples like the others: the inner loop learns from support and queries
    together.

    With the outer optimiser sgd without momentum and rate ε, a step is θ ← θ + ε · mean(θ′ − θ).

    Paper: Nichol, Achiam, Schulman 2018, arXiv:1803.02999, algorithm 1.
    """

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not isinstance(learner, GradientLearner):
            raise ConfigError(
                "pull needs a learner with inner steps (reptile, maml, …), not "
                f"{type(learner).__name__}."
            )
        if not isinstance(batch, Episode):
            raise ConfigError("pull needs episodes, but got labelled examples. Train on episodes.")
        s, q = batch.support, batch.query
        all_of_it = Examples(torch.cat((s.x, q.x), 1), torch.cat((s.y, q.y), 1))
        with torch.no_grad():
            fast, _ = learner.adapt(
                all_of_it, batch.target, q.x if learner.traits.transductive else None
            )
        theta = learner.start(all_of_it, batch.target)
        moved = ((p if len(s.x) > 1 else p[None]) - fast[n] for n, p in theta.items())
        return 0.5 * sum((m.square().sum() for m in moved), s.x.new_zeros(())) / len(s.x)
