"""Membership: how much a vector looks like one of the known classes."""

import abc
from typing import Any, Self

import numpy as np
from sklearn.covariance import LedoitWolf

from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.scaling import Array, unit
from quickstudy.metrics.open_set import SCORES

TEMPERED = ("energy", "max_probability")
"""The scores that depend on the temperature of the classifier."""


class AbstractMembership(abc.ABC):
    """Membership: ``[n]`` from vectors ``[n D]``."""

    model: FewShotClassifier

    def fit(self, model: FewShotClassifier) -> Self:
        """Of the classes of a fitted classifier."""
        self.model = model
        return self

    @abc.abstractmethod
    def scores(self, x: Array) -> Array:
        """The membership of each vector, higher = more like a member."""


class MaxSimilarity(AbstractMembership):
    """The best class's score."""

    def scores(self, x: Array) -> Array:
        return self.model.head_.scores(x).max(1)


class Energy(AbstractMembership):
    """log Σ exp of the scores."""

    def scores(self, x: Array) -> Array:
        return np.logaddexp.reduce(self.model.head_.scores(x) / self.model.temperature, axis=1)


class MaxProbability(AbstractMembership):
    """The best class's probability, as log odds."""

    def scores(self, x: Array) -> Array:
        return log_odds(self.model.head_.scores(x) / self.model.temperature)


class Nearest(AbstractMembership):
    """The cosine to the nearest example."""

    def scores(self, x: Array) -> Array:
        return (unit(x) @ unit(self.model.support_).T).max(1)


class Mahalanobis(AbstractMembership):
    """Minus the squared distance to the nearest class mean, under the shrunken covariance within
    the classes.
    """

    def fit(self, model: FewShotClassifier) -> Self:
        self.model = model
        x, y = unit(model.support_), model.labels_
        self.means = np.stack([x[y == c].mean(0) for c in range(len(model.classes_))])
        fitted: Any = LedoitWolf(assume_centered=True).fit(x - self.means[y])
        self.whitening = np.linalg.cholesky(fitted.precision_)  # L L' is the inverse covariance
        self.centre = self.means.mean(0)
        self.whitened = (self.means - self.centre) @ self.whitening  # [C D]
        return self

    def scores(self, x: Array) -> Array:
        z = (unit(x) - self.centre) @ self.whitening
        lengths = (z * z).sum(1)[:, None] + (self.whitened * self.whitened).sum(1)
        return -np.maximum(lengths - 2 * z @ self.whitened.T, 0.0).min(1)


def log_odds(scores: Array) -> Array:
    """The log odds of the best class's softmax probability, ``[n]`` from scores ``[n C]``; 0 where
    there is one class.
    """
    if scores.shape[1] < 2:
        return np.zeros(len(scores))
    ordered = np.sort(scores, axis=1)
    return ordered[:, -1] - np.logaddexp.reduce(ordered[:, :-1], axis=1)


def score_named(name: str) -> AbstractMembership:
    """The membership score of a name of `quickstudy.metrics.open_set.SCORES`.

    Raises:
        ConfigError: when there is none.
    """
    kinds = {
        "max_similarity": MaxSimilarity,
        "nearest": Nearest,
        "energy": Energy,
        "mahalanobis": Mahalanobis,
        "max_probability": MaxProbability,
    }
    if name not in kinds:
        raise ConfigError(f"There is no membership score '{name}'. {did_you_mean(name, SCORES)}")
    return kinds[name]()
