from typing import Any

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ProtoNet
from quickstudy.core.errors import ConfigError
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective, MetaStep
from quickstudy.core.types import Batch, Episode, Examples
from quickstudy.encoders import MLP
from quickstudy.objectives import QueryLoss
from quickstudy.testing import toy_episode


class Reptile(AbstractObjective):
    """Draws examples of one label together: a labelled batch, no episode."""

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> torch.Tensor:
        assert isinstance(batch, Examples)
        assert not batch.padded
        z = learner.encoder(batch.x)
        same = batch.y[:, :, None] == batch.y[:, None]
        return (torch.cdist(z, z) * same).mean()


def test_query_loss_is_the_mean_over_the_tasks() -> None:
    learner, e = ProtoNet(MLP(6)), toy_episode(n_tasks=3)
    by_hand = torch.stack(
        [F.cross_entropy(learner(e.task(t))[0], e.query.y[t]) for t in range(3)]
    ).mean()
    torch.testing.assert_close(MetaStep(learner, QueryLoss())(e), by_hand)


def test_padded_tasks_lose_their_padding_before_any_objective() -> None:
    learner, e = ProtoNet(MLP(6)), toy_episode(n_tasks=2)
    padded = Examples(
        torch.cat((e.query.x, torch.full_like(e.query.x[:, :1], 1e6)), 1),
        torch.cat((e.query.y, e.query.y[:, :1]), 1),
        torch.cat(
            (torch.ones_like(e.query.y, dtype=torch.bool), torch.zeros(2, 1, dtype=torch.bool)), 1
        ),
    )
    step = MetaStep(learner, QueryLoss())
    torch.testing.assert_close(step(Episode(e.support, padded, e.target)), step(e))


def test_an_objective_may_take_labelled_examples() -> None:
    learner, e = ProtoNet(MLP(6)), toy_episode(n_tasks=2)
    step = MetaStep(learner, Reptile())
    loss = step(e.support)
    loss.backward()
    assert all(p.grad is not None for p in learner.parameters())
    mask = torch.ones_like(e.support.y, dtype=torch.bool)
    torch.testing.assert_close(step(Examples(e.support.x, e.support.y, mask)), loss)


def test_query_loss_refuses_labelled_examples() -> None:
    with pytest.raises(ConfigError, match="query_loss needs episodes"):
        MetaStep(ProtoNet(MLP(6)), QueryLoss())(toy_episode().support)
