"""NT-Xent, and what contrastive learning and prototypes have in common."""

import math

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ProtoNet
from quickstudy.augment import Contrastive
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Identity
from quickstudy.objectives import QueryLoss, SimCLR
from quickstudy.objectives.simclr import nt_xent
from quickstudy.testing import toy_episode


def views(n: int = 5, dim: int = 6) -> Episode:
    g, y = torch.Generator().manual_seed(0), torch.arange(n).repeat(2, 1)
    return Episode(
        *(Examples(torch.randn(2, n, dim, generator=g), y) for _ in range(2)), Classes(n)
    )


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_loss_by_a_double_loop(temperature: float) -> None:
    e = views()
    total, n = 0.0, 0
    for t in range(2):
        z = [F.normalize(v, dim=0) for v in (*e.support.x[t], *e.query.x[t])]
        for i in range(10):
            j = (i + 5) % 10
            all_others = sum(
                math.exp(float(z[i] @ z[k]) / temperature) for k in range(10) if k != i
            )
            total += -math.log(math.exp(float(z[i] @ z[j]) / temperature) / all_others)
            n += 1
    assert float(SimCLR(temperature=temperature)(ProtoNet(Identity(6)), e)) == pytest.approx(
        total / n, rel=1e-5
    )


def test_it_is_that_of_pytorch_metric_learning() -> None:
    losses = pytest.importorskip(
        "pytorch_metric_learning.losses", reason="pytorch-metric-learning is not installed"
    )
    e = views(8)
    for t in range(2):
        z = torch.cat((e.support.x[t], e.query.x[t]))
        theirs = losses.NTXentLoss(temperature=0.3)(z, torch.arange(8).repeat(2))
        torch.testing.assert_close(nt_xent(z[None], temperature=0.3), theirs)


def test_the_projection_is_trained_and_not_kept_in_the_learner() -> None:
    learner = ProtoNet(MLP(6, widths=(8,)))
    step = MetaStep(learner, SimCLR(dim=8, projection=4))
    step(views()).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in step.parameters())
    z = learner.encoder(torch.cat((views().support.x, views().query.x), 1))
    first, _, last = step.objective.project
    projected = F.relu(z @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(step(views()), nt_xent(projected, temperature=0.5))


def test_prototypes_on_contrastive_tasks_are_info_nce() -> None:
    """With one view each, and cosines: the cross entropy of a query's own image among all images of
    the support.
    """
    x, y = torch.rand(1, 6, 1, 28, 28), torch.zeros(1, 6, dtype=torch.long)
    e = Contrastive()(
        Episode(Examples(x, y), Examples(x, y), Classes(1)), torch.Generator().manual_seed(0)
    )
    flat = Episode(*(Examples(p.x.flatten(2), p.y) for p in (e.support, e.query)), e.target)
    loss = QueryLoss()(ProtoNet(Identity(784), similarity="cosine"), flat)
    a, b = (F.normalize(p.x[0], dim=1) for p in (flat.support, flat.query))
    scale = float(ProtoNet(Identity(784), similarity="cosine")(flat)[0, 0, 0] / (b[0] @ a[0]))
    expected = -torch.stack([(scale * b[i] @ a.T).log_softmax(0)[i] for i in range(12)]).mean()
    torch.testing.assert_close(loss.detach(), expected, rtol=1e-4, atol=1e-5)


def test_what_are_no_views() -> None:
    with pytest.raises(EpisodeError, match="two views of each image"):
        SimCLR()(ProtoNet(Identity(6)), toy_episode())
    with pytest.raises(EpisodeError, match="two views of each image"):
        SimCLR()(ProtoNet(Identity(6)), toy_episode(n_shot=1, n_query=1, n_way=4, seed=3).support)
    with pytest.raises(ConfigError, match="needs the encoder's dim"):
        SimCLR(projection=8)
