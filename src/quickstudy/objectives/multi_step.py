"""MAML++'s loss after every inner step."""

from typing import Any

import torch
from torch import Tensor

from quickstudy.core.clock import Clock
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.types import Batch, Episode
from quickstudy.inner.learner import GradientLearner


def step_weights(n_steps: int, *, epoch: float, annealing_epochs: float) -> list[float]:
    """v_1 … v_J: all 1/J in the beginning, and almost all of it on the last step in the end.

    For j < J: v_j = max(1/J − e/(J·E), 0.03/J);  v_J = min(1/J + e(J−1)/(J·E), 1 − (J−1)·0.03/J).

    >>> [round(v, 4) for v in step_weights(5, epoch=5, annealing_epochs=10)]
    [0.1, 0.1, 0.1, 0.1, 0.6]

    Paper: Antoniou, Edwards, Storkey 2019, arXiv:1810.09502, section 4 (schedule as in the authors'
        code).
    """
    least, even = 0.03 / n_steps, 1 / n_steps
    early = max(even - epoch / (n_steps * annealing_epochs), least)
    last = min(
        even + epoch * (n_steps - 1) / (n_steps * annealing_epochs), 1 - (n_steps - 1) * least
    )
    return [early] * (n_steps - 1) + [last]


class MultiStep(AbstractObjective):
    """Σ_j v_j L_Q(θ_j) over the inner steps j = 1 … J, with weights that move to the last step;
    after the annealing L_Q(θ_J) alone.

    Args:
        annealing_steps: outer steps until the last inner step counts alone (the paper: 10 epochs of
            500 on Omniglot, 15 on mini-ImageNet).
        epoch: outer steps for which the weights stay the same.
    """

    def __init__(self, *, annealing_steps: int = 5_000, epoch: int = 500) -> None:
        super().__init__()
        if annealing_steps < 1 or epoch < 1:
            raise ConfigError(
                f"annealing_steps and epoch must be at least 1, got {annealing_steps} and {epoch}."
            )
        self.annealing_steps, self.epoch, self.clock = annealing_steps, epoch, Clock()

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not isinstance(learner, GradientLearner) or not isinstance(batch, Episode):
            raise ConfigError(
                "multi_step needs a learner with inner steps (maml, maml_pp, …) and episodes. "
                "Train others on query_loss."
            )
        n = learner.loop.steps
        done = self.clock.now
        if done >= self.annealing_steps or n < 2:
            return batch.target.loss(learner(batch), batch.query.y).mean()
        weights = step_weights(
            n, epoch=done // self.epoch, annealing_epochs=self.annealing_steps / self.epoch
        )
        losses = [
            batch.target.loss(out, batch.query.y).mean()
            for out in learner.answers_along(batch, first=1)
        ]
        return (torch.stack(losses) * losses[0].new_tensor(weights)).sum()
