"""The objective of learned optimisers: be low all along the way."""

from typing import Any

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Batch, Episode
from quickstudy.inner.learner import GradientLearner


class Trajectory(AbstractObjective):
    """The mean over the inner steps t = 1 … J of L_Q(θ_t), all with the same weight.

    Paper: Andrychowicz et al. 2016, arXiv:1606.04474, equation 3 with w_t = 1 (there the sum, here
        the mean).
    """

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not isinstance(learner, GradientLearner) or not isinstance(batch, Episode):
            raise ConfigError(
                "trajectory needs a learner with inner steps (learned_optimiser, maml, …) and "
                "episodes."
            )
        losses = [
            batch.target.loss(out, batch.query.y).mean() for out in learner.answers_along(batch)
        ]
        return torch.stack(losses[1:] or losses).mean()
