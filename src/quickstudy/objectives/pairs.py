"""Learning from pairs and triplets of examples, for learners that compare
(`quickstudy.core.comparing`).
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.core.comparing import AbstractComparer
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.objective import AbstractObjective
from quickstudy.core.rng import current
from quickstudy.core.types import Batch, Episode
from quickstudy.functional.mining import batch_hard, random_triplets, semi_hard
from quickstudy.functional.similarity import negative_squared_euclidean

LOSSES, MINING = ("cross_entropy", "contrastive"), ("random", "semi_hard", "batch_hard")


class Pairs(AbstractObjective):
    """All pairs of a task's examples, support and queries alike; pairs of one class count for as
    much as all the others together.

    cross_entropy: −log σ(s) for pairs of one class, −log(1 − σ(s)) for others, s the learner's
        score.
    contrastive: D² for pairs of one class, max(0, m − D)² for others, D the Euclidean distance of
        the features.

    Args:
        loss: which of them.
        margin: m.

    Raises:
        ConfigError: for an unknown loss; in training, for a learner that does not compare, or
            classes of one example.

    Paper: Koch et al. 2015; contrastive Hadsell, Chopra, LeCun 2006, doi:10.1109/CVPR.2006.100,
        equation 4.
    """

    def __init__(self, *, loss: str = "cross_entropy", margin: float = 1.0) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ConfigError(f"Pairs have no loss '{loss}'. {did_you_mean(loss, LOSSES)}")
        self.loss, self.margin = loss, margin

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        comparer, z, y = _features(learner, batch)
        once = torch.ones(y.shape[1], y.shape[1], dtype=torch.bool, device=y.device).triu(1)
        alike = (y[:, :, None] == y[:, None]) & once  # [T N N]
        other = ~(y[:, :, None] == y[:, None]) & once
        if not alike.flatten(1).any(1).all() or not other.flatten(1).any(1).all():
            raise ConfigError(
                "Pairs take tasks with several classes and several examples of each. Raise n_way, "
                "n_shot or n_query."
            )
        if self.loss == "cross_entropy":
            score = comparer.same(z, z)
            return (_mean(F.softplus(-score), alike) + _mean(F.softplus(score), other)) / 2
        distance = _distance(z)
        return (
            _mean(distance.square(), alike) + _mean(F.relu(self.margin - distance).square(), other)
        ) / 2


class Triplets(AbstractObjective):
    """An anchor shall be nearer to its positive than to its negative, by a margin; the triplets are
    mined in each task's examples.

    margin: [D(a, p)² − D(a, n)² + m]₊ for "random" and "semi_hard", as FaceNet;  "batch_hard" takes
        log(1 + exp(D(a, p) − D(a, n))), or with a margin
    [D(a, p) − D(a, n) + m]₊.

    Args:
        mining: "random", "semi_hard" or "batch_hard", see `quickstudy.functional.mining`.
        margin: m; for "batch_hard" 0 = the soft margin.

    Raises:
        ConfigError: for an unknown way of mining; in training, for a learner that does not compare.

    Paper: Schroff, Kalenichenko, Philbin 2015, arXiv:1503.03832; Hermans, Beyer, Leibe 2017,
        arXiv:1703.07737.
    """

    draws: ClassVar[bool] = True

    def __init__(self, *, mining: str = "batch_hard", margin: float = 0.0) -> None:
        super().__init__()
        if mining not in MINING:
            raise ConfigError(
                f"Triplets are mined by no '{mining}'. {did_you_mean(mining, MINING)}"
            )
        if margin < 0 or (mining != "batch_hard" and not margin):
            raise ConfigError(
                f"'{mining}' takes a margin above 0 (FaceNet's is 0.2), got {margin}."
            )
        self.mining, self.margin = mining, margin

    def forward(self, learner: AbstractLearner[Any], batch: Batch) -> Tensor:
        _, z, y = _features(learner, batch)
        return torch.stack(
            [self._of_task(_distance(zt[None])[0], yt) for zt, yt in zip(z, y, strict=True)]
        ).mean()

    def _of_task(self, d: Float[Tensor, "N N"], y: Tensor) -> Tensor:
        if self.mining == "batch_hard":
            a, p, n = batch_hard(d.detach(), y)
            gap = d[a, p] - d[a, n]
            return (F.relu(gap + self.margin) if self.margin else F.softplus(gap)).mean()
        squared = d.square()
        if self.mining == "semi_hard":
            a, p, n = semi_hard(squared.detach(), y, margin=self.margin)
        else:
            a, p, n = random_triplets(y, generator=current())
        if not len(a):  # nothing to learn from, but still a part of the graph
            return 0.0 * squared.sum()
        return F.relu(squared[a, p] - squared[a, n] + self.margin).mean()


def _features(
    learner: AbstractLearner[Any], batch: Batch
) -> tuple[AbstractComparer[Any], Tensor, Tensor]:
    if not isinstance(learner, AbstractComparer):
        raise ConfigError(
            f"{type(learner).__name__} does not judge pairs. Train a learner that compares, e.g. "
            "siamese, or another objective."
        )
    parts = (batch.support, batch.query) if isinstance(batch, Episode) else (batch,)
    return (
        learner,
        learner.features(torch.cat([p.x for p in parts], 1)),
        torch.cat([p.y for p in parts], 1),
    )


def _mean(values: Float[Tensor, "T N N"], which: Bool[Tensor, "T N N"]) -> Tensor:
    """The mean over each task's pairs, and over the tasks."""
    return ((values * which).sum((1, 2)) / which.sum((1, 2))).mean()


def _distance(z: Float[Tensor, "T N D"]) -> Float[Tensor, "T N N"]:
    """Euclidean; a tiny number under the root gives equal points a gradient."""
    return (1e-12 - negative_squared_euclidean(z, z)).sqrt()
