"""Pairs and triplets against loops over every pair."""

import math

import pytest
import torch

from quickstudy.algorithms import ProtoNet, Siamese
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import drawing
from quickstudy.core.types import Episode, Examples
from quickstudy.encoders import MLP
from quickstudy.functional.mining import random_triplets
from quickstudy.objectives import Pairs, Triplets
from quickstudy.testing import toy_episode


def task(e: Episode, t: int) -> tuple[torch.Tensor, list[int]]:
    return torch.cat((e.support.x[t], e.query.x[t])), torch.cat(
        (e.support.y[t], e.query.y[t])
    ).tolist()


@pytest.mark.parametrize("compare", ["difference", "concatenate", "distance"])
def test_the_cross_entropy_of_pairs_counts_both_kinds_alike(compare: str) -> None:
    learner, e = Siamese(MLP(6, widths=(5,)), compare=compare), toy_episode(n_tasks=2)
    losses = []
    for t in range(2):
        x, y = task(e, t)
        z = learner.encoder(x[None])[0]
        alike, other = [], []
        for i in range(len(y)):
            for j in range(i + 1, len(y)):
                if compare == "difference":
                    s = learner.judge((z[i] - z[j]).abs())[0]
                elif compare == "concatenate":
                    s = (
                        learner.judge(torch.cat((z[i], z[j])))
                        + learner.judge(torch.cat((z[j], z[i])))
                    )[0] / 2
                else:
                    s = -(z[i] - z[j]).square().sum()
                (alike if y[i] == y[j] else other).append(
                    -torch.log(torch.sigmoid(s if y[i] == y[j] else -s))
                )
        losses.append((torch.stack(alike).mean() + torch.stack(other).mean()) / 2)
    torch.testing.assert_close(
        Pairs()(learner, e), torch.stack(losses).mean(), rtol=1e-4, atol=1e-4
    )


def test_the_contrastive_loss_by_a_loop() -> None:
    learner = Siamese(MLP(6, widths=(5,)), compare="distance", normalise=True)
    e = toy_episode(n_tasks=1)
    x, y = task(e, 0)
    z = torch.nn.functional.normalize(learner.encoder(x[None])[0], dim=1)
    alike, other = [], []
    for i in range(len(y)):
        for j in range(i + 1, len(y)):
            d = float((z[i] - z[j]).norm().detach())
            (alike if y[i] == y[j] else other).append(
                d**2 if y[i] == y[j] else max(0.0, 1.2 - d) ** 2
            )
    expected = (sum(alike) / len(alike) + sum(other) / len(other)) / 2
    assert Pairs(loss="contrastive", margin=1.2)(learner, e).item() == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize(
    ("mining", "margin"),
    [("batch_hard", 0.0), ("batch_hard", 0.3), ("semi_hard", 0.5), ("random", 0.2)],
)
def test_triplets_by_a_loop(mining: str, margin: float) -> None:
    learner = Siamese(MLP(6, widths=(5,)), compare="distance", normalise=True)
    e = toy_episode(n_tasks=2)
    losses = []
    g = torch.Generator().manual_seed(3)
    for t in range(2):
        x, y = task(e, t)
        z = torch.nn.functional.normalize(learner.encoder(x[None])[0], dim=1)
        d = [[float((a - b).norm()) for b in z.detach()] for a in z.detach()]
        of_task = []
        if mining == "random":
            triples = zip(
                *(i.tolist() for i in random_triplets(torch.tensor(y), generator=g)), strict=True
            )
            of_task = [max(0.0, d[a][p] ** 2 - d[a][n] ** 2 + margin) for a, p, n in triples]
        for a in range(len(y)):
            positives = [i for i in range(len(y)) if i != a and y[i] == y[a]]
            negatives = [i for i in range(len(y)) if y[i] != y[a]]
            if mining == "batch_hard":
                gap = max(d[a][i] for i in positives) - min(d[a][i] for i in negatives)
                of_task.append(max(0.0, gap + margin) if margin else math.log1p(math.exp(gap)))
            if mining == "semi_hard":
                for p in positives:
                    between = [
                        d[a][i] ** 2
                        for i in negatives
                        if d[a][p] ** 2 < d[a][i] ** 2 < d[a][p] ** 2 + margin
                    ]
                    of_task += [max(0.0, d[a][p] ** 2 - min(between) + margin)] if between else []
        losses.append(sum(of_task) / len(of_task) if of_task else 0.0)
    with drawing(torch.Generator().manual_seed(3)):
        assert Triplets(mining=mining, margin=margin)(learner, e).item() == pytest.approx(
            sum(losses) / 2, rel=1e-3, abs=1e-5
        )


def test_equal_examples_have_finite_gradients() -> None:
    learner, e = Siamese(MLP(6, widths=(5,)), compare="distance"), toy_episode(n_tasks=1)
    same = Episode(
        Examples(torch.zeros_like(e.support.x), e.support.y),
        Examples(torch.zeros_like(e.query.x), e.query.y),
        e.target,
    )
    for objective in (
        Pairs(loss="contrastive"),
        Triplets(),
        Triplets(mining="semi_hard", margin=0.2),
    ):
        objective(learner, same).backward()
    assert all(p.grad.isfinite().all() for p in learner.parameters())


def test_mistakes() -> None:
    e = toy_episode(n_tasks=1)
    with pytest.raises(ConfigError, match="ProtoNet does not judge pairs"):
        Pairs()(ProtoNet(MLP(6)), e)
    with pytest.raises(ConfigError, match="several classes and several examples of each"):
        Pairs()(Siamese(MLP(6)), Examples(e.support.x, torch.zeros_like(e.support.y)))
    with pytest.raises(ConfigError, match=r"no loss 'contrast'.*contrastive"):
        Pairs(loss="contrast")
    with pytest.raises(ConfigError, match=r"by no 'hard'.*batch_hard"):
        Triplets(mining="hard")
    with pytest.raises(ConfigError, match="'random' takes a margin above 0"):
        Triplets(mining="random")
