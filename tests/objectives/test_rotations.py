"""Which way is up."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ProtoNet, maml
from quickstudy.core.errors import ConfigError
from quickstudy.encoders import MLP, Conv4
from quickstudy.objectives import QueryLoss, Rotations
from quickstudy.testing import toy_episode


def test_by_a_loop_over_images_and_turns() -> None:
    torch.manual_seed(0)
    learner, e = ProtoNet(Conv4(width=4, norm="group")), toy_episode(n_tasks=2, shape=(1, 28, 28))
    objective, losses = Rotations(dim=4, weight=0.5), []
    for x in (*e.support.x.flatten(0, 1), *e.query.x.flatten(0, 1)):
        for r in range(4):
            turned = x
            for _ in range(r):  # counter-clockwise: what was the last column is the first row
                turned = turned.transpose(1, 2).flip(1)
            losses.append(
                F.cross_entropy(
                    objective.head(learner.encoder(turned[None, None]))[0], torch.tensor([r])
                )
            )
    expected = QueryLoss()(learner, e) + 0.5 * torch.stack(losses).mean()
    torch.testing.assert_close(objective(learner, e), expected, rtol=1e-4, atol=1e-5)
    alone = Rotations(dim=4, weight=0.5, episodes=False)
    alone.load_state_dict(objective.state_dict())
    torch.testing.assert_close(
        alone(learner, e), 0.5 * torch.stack(losses).mean(), rtol=1e-4, atol=1e-5
    )


def test_it_learns_which_way_is_up() -> None:
    """Images that are brighter at the top: a few steps tell all turns apart."""
    torch.manual_seed(0)
    ramp = torch.linspace(1, 0, 16)[:, None].expand(16, 16)
    e = toy_episode(n_tasks=1, shape=(1, 16, 16))
    e = type(e)(
        *(type(p)(ramp + 0.1 * torch.randn_like(p.x), p.y) for p in (e.support, e.query)), e.target
    )
    learner = ProtoNet(Conv4(size=16, width=8, norm="group"))
    objective = Rotations(dim=8, episodes=False)
    optimiser = torch.optim.Adam([*learner.parameters(), *objective.parameters()], lr=1e-2)
    for _ in range(40):
        loss = objective(learner, e)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.3


def test_mistakes() -> None:
    e = toy_episode(shape=(1, 28, 28))
    with pytest.raises(ConfigError, match="made for dim=5"):
        Rotations(dim=5)(ProtoNet(Conv4(width=4)), e)
    with pytest.raises(ConfigError, match="turns square images"):
        Rotations(dim=4)(ProtoNet(MLP(6)), toy_episode())
    with pytest.raises(ConfigError, match="turns square images"):
        Rotations(dim=4)(ProtoNet(Conv4(width=4)), toy_episode(shape=(1, 28, 20)))
    with pytest.raises(ConfigError, match="needs episodes"):
        Rotations(dim=4)(ProtoNet(Conv4(width=4)), e.support)
    with pytest.raises(ConfigError, match="weight positive"):
        Rotations(dim=4, weight=0.0)
    assert Rotations(dim=4)(maml(Conv4(width=4, norm="batch"), n_out=4), e).ndim == 0
