"""Answering before the label is told."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.online import AbstractOnline
from quickstudy.core.rng import current
from quickstudy.core.types import Batch, Episode


class Online(AbstractObjective):
    """The mean cross entropy over a sequence of all examples of a task, supports and queries in one
    random order, each answered before its label is told.

    The first example of a class can only be guessed.

    Raises:
        ConfigError: in training, for a learner that does not answer online.

    Paper: Santoro et al. 2016, arXiv:1605.06065, section 2.
    """

    draws: ClassVar[bool] = True

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        if not isinstance(learner, AbstractOnline) or not isinstance(batch, Episode):
            raise ConfigError(
                f"{type(learner).__name__} does not answer online. Train one that does, e.g. mann "
                "or lstm, on episodes."
            )
        x, y = sequence(batch, current())
        return F.cross_entropy(learner.online(x, y, batch.target.width).flatten(0, 1), y.flatten())


def sequence(episode: Episode, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """All examples of each task in one random order, and their labels."""
    x = torch.cat((episode.support.x, episode.query.x), 1)
    y = torch.cat((episode.support.y, episode.query.y), 1)
    order = torch.rand(y.shape, generator=generator).argsort(1).to(y.device)
    tasks = torch.arange(len(y), device=y.device)[:, None]
    return x[tasks, order], y[tasks, order]
