"""The membership scores of an `OpenSetClassifier` as modules."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.errors import ConfigError
from quickstudy.estimators.membership import (
    AbstractMembership,
    Energy,
    Mahalanobis,
    MaxProbability,
    MaxSimilarity,
    Nearest,
)
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.scaling import Array, unit
from quickstudy.export.heads import DoubleModule, unit_rows


class FromScores(nn.Module):
    """A membership score that is made of the scores of the classes."""

    def __init__(self, scorer: AbstractMembership) -> None:
        super().__init__()
        self.scorer = type(scorer)
        self.temperature = 1.0
        if isinstance(scorer, Energy | MaxProbability):
            self.temperature = scorer.model.temperature

    def forward(self, x: Float[Tensor, "n D"], scores: Float[Tensor, "n C"]) -> Float[Tensor, " n"]:
        """The membership."""
        scores = scores / self.temperature
        if self.scorer is MaxSimilarity:
            return scores.amax(1)
        if self.scorer is Energy:
            return torch.logsumexp(scores, dim=1)
        if scores.shape[1] < 2:
            return torch.zeros_like(scores[:, 0])
        ordered = scores.topk(scores.shape[1], dim=1).values
        return ordered[:, 0] - torch.logsumexp(ordered[:, 1:], dim=1)


class NearestGraph(DoubleModule):
    """The cosine to the nearest of some vectors."""

    vectors: Tensor

    def __init__(self, vectors: Array) -> None:
        super().__init__()
        self.keep(vectors=unit(vectors).T)

    def forward(self, x: Float[Tensor, "n D"], scores: Float[Tensor, "n C"]) -> Float[Tensor, " n"]:
        """The membership."""
        return (unit_rows(x) @ self.vectors).amax(1)


class MahalanobisGraph(DoubleModule):
    """Minus the squared distance to the nearest class mean, after whitening."""

    centre: Tensor
    whitening: Tensor
    whitened: Tensor

    def __init__(self, scorer: Mahalanobis) -> None:
        super().__init__()
        self.keep(centre=scorer.centre, whitening=scorer.whitening, whitened=scorer.whitened)

    def forward(self, x: Float[Tensor, "n D"], scores: Float[Tensor, "n C"]) -> Float[Tensor, " n"]:
        """The membership."""
        z = (unit_rows(x) - self.centre) @ self.whitening
        lengths = (z * z).sum(1, keepdim=True) + (self.whitened * self.whitened).sum(1)
        return -(lengths - 2 * z @ self.whitened.T).clamp(min=0.0).amin(1)


class WithNegatives(DoubleModule):
    """What is nearer to a negative than to every example has the lowest score of an unknown."""

    lowest: Tensor

    def __init__(self, membership: nn.Module, model: OpenSetClassifier, negatives: Array) -> None:
        super().__init__()
        self.membership = membership
        self.near_negative = NearestGraph(negatives)
        self.near_example = NearestGraph(model.estimator_.support_)
        self.keep(lowest=model.calibration_scores_.min())

    def forward(self, x: Float[Tensor, "n D"], scores: Float[Tensor, "n C"]) -> Float[Tensor, " n"]:
        """The membership."""
        result = self.membership(x, scores)
        is_negative = self.near_negative(x, scores) > self.near_example(x, scores)
        return torch.where(is_negative, torch.minimum(result, self.lowest), result)


def membership_graph(model: OpenSetClassifier) -> nn.Module:
    """The membership score of a model as a module: vectors ``[n D]`` and scores ``[n C]`` to
    ``[n]``.

    Raises:
        ConfigError: for a score that cannot be a graph.
    """
    scorer = model.scorer_
    graph: nn.Module
    if isinstance(scorer, MaxSimilarity | Energy | MaxProbability):
        graph = FromScores(scorer)
    elif isinstance(scorer, Nearest):
        graph = NearestGraph(model.estimator_.support_)
    elif isinstance(scorer, Mahalanobis):
        graph = MahalanobisGraph(scorer)
    else:
        raise ConfigError(
            f"The membership score {model.unknown_score} cannot be exported. Fit with "
            "max_similarity."
        )
    return graph if model.negatives_ is None else WithNegatives(graph, model, model.negatives_)
