"""A classifier that decides about a whole batch at once, and learns from it who the unknowns
are.
"""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, TransductiveError
from quickstudy.estimators.open_set import (
    OpenSetPrediction,
    labels_or_reject,
    reject_label_among,
)
from quickstudy.estimators.scaling import Array
from quickstudy.estimators.validation import check_labels, check_vectors
from quickstudy.functional.oslo import centred, oslo_answers, oslo_means
from quickstudy.metrics.thresholds import conformal_threshold


class OSLOClassifier(ClassifierMixin, BaseEstimator):
    """Decides about all vectors of a batch together (transductive): what is said of one depends on
    the others that are asked about with it.

    The class vectors learn from the batch, and less from what seems to belong to no class:
    `quickstudy.functional.oslo.oslo`, on vectors less their mean, of unit length. Where unknowns
    come in crowds and the encoder is weak, that tells them better than `OpenSetClassifier`; where
    the encoder is good, no better. The same vector asked again has the same answer only in the same
    batch.

    A vector is accepted where its inlierness ξ is above a threshold. With a cohort, unknowns like
    those to come, that is the conformal quantile of the cohort's own ξ, computed in the same batch:
    as the method treats all queries alike, an unknown that is exchangeable with the cohort is
    accepted with a probability of at most the rate, whoever else is in the batch. Without one the
    threshold is yours, and nothing is promised: ξ is no probability.

    Args:
        threshold: of ξ, between 0 and 1, for when there is no cohort.
        false_accept_rate: the wanted share of unknowns who are taken for members, when there is
            one.
        steps, inlier_temperature, class_temperature: of the method.
        reject_label: what `predict` answers for unknowns, see `OpenSetClassifier`.

    Attributes:
        transductive: True.
        classes_: the classes, without the unknown.
        reject_label_: what `predict` answers for unknowns.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> members = np.repeat(np.eye(8)[:2], 5, axis=0) + rng.normal(size=(10, 8)) / 20
        >>> model = OSLOClassifier(false_accept_rate=0.05).fit(
        ...     members, ["a"] * 5 + ["b"] * 5, cohort=rng.normal(size=(99, 8))
        ... )
        >>> model.predict(np.eye(8)[[0, 1, 5]])
        array(['a', 'b', 'unknown'], dtype='<U7')

    Source: Boudiaf et al. 2023, arXiv:2301.08390; the threshold within the batch is full conformal
        prediction, Vovk, Gammerman, Shafer 2005, section 2.2.
    """

    transductive: ClassVar[bool] = True

    classes_: NDArray[Any]
    support_: Array
    labels_: NDArray[np.int64]
    cohort_: Array | None
    reject_label_: Any
    cohort_groups_: NDArray[Any] | None
    n_features_in_: int

    def __init__(
        self,
        *,
        threshold: float | None = None,
        false_accept_rate: float = 0.05,
        steps: int = 2,
        inlier_temperature: float = 0.1,
        class_temperature: float = 0.1,
        reject_label: Any = None,
    ) -> None:
        self.threshold = threshold
        self.false_accept_rate = false_accept_rate
        self.steps = steps
        self.inlier_temperature = inlier_temperature
        self.class_temperature = class_temperature
        self.reject_label = reject_label

    def fit(self, X: Any, y: Any, *, cohort: Any = None, cohort_groups: Any = None) -> Self:
        """Keep the examples of the classes, and the unknowns.

        Args:
            X: vectors ``[N D]``.
            y: their classes.
            cohort: vectors ``[n D]`` of unknowns.
            cohort_groups: whose each vector of the cohort is, ``[n]``, where there are several of
                one unknown; None = each of another.

        Raises:
            ConfigError: when there is neither a cohort nor a threshold (or both), the cohort is too
                small for the rate, or the label for unknowns is a class.
        """
        x = check_vectors(self, X, reset=True)
        self.classes_, self.labels_ = np.unique(check_labels(y, len(x)), return_inverse=True)
        self.reject_label_ = reject_label_among(self.classes_, self.reject_label)
        if (cohort is None) == (self.threshold is None):
            raise ConfigError(
                "OSLOClassifier needs a cohort to draw the line by, fit(…, cohort=…), or a "
                "threshold for ξ, "
                "OSLOClassifier(threshold=…), and not both; it got "
                f"{'neither' if cohort is None else 'both'}."
            )
        self.support_ = x
        self.cohort_ = None if cohort is None else check_vectors(self, cohort)
        self.cohort_groups_ = None if cohort_groups is None else np.asarray(cohort_groups)
        if self.cohort_ is not None:
            # A rate that so few unknowns cannot keep is refused now, not when it is asked.
            conformal_threshold(
                np.zeros(len(self.cohort_)), self.false_accept_rate, groups=self.cohort_groups_
            )
        return self

    def decide_batch(self, X: Any) -> list[OpenSetPrediction]:
        """The class or None of each vector of a batch ``[n D]``; the score is ξ.

        Raises:
            TransductiveError: for a single vector.
        """
        z, xi, threshold = self._answers(X)
        best = self.classes_[z.argmax(1)].tolist()
        return [
            OpenSetPrediction(b if s > threshold else None, b, s, threshold, True)
            for b, s in zip(best, xi.tolist(), strict=True)
        ]

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each vector of a batch, or the label for unknowns; as `decide_batch`."""
        z, xi, threshold = self._answers(X)
        return labels_or_reject(self.classes_[z.argmax(1)], xi > threshold, self.reject_label_)

    def inlierness(self, X: Any) -> Array:
        """ξ of each vector of a batch, ``[n]``: to rank them by."""
        return self._answers(X)[1]

    def _answers(self, X: Any) -> tuple[Array, Array, float]:
        check_is_fitted(self, "support_")
        x = check_vectors(self, X)
        if len(x) < 2:
            raise TransductiveError(
                "OSLOClassifier decides about a batch, as it learns from all that is asked what "
                "unknowns "
                "look like; one vector alone teaches it nothing. Ask for "
                "at least 2 at once, or take an OpenSetClassifier, which decides about each by "
                "itself."
            )
        queries = x if self.cohort_ is None else np.r_[x, self.cohort_]
        support, batch, _ = centred(
            torch.from_numpy(self.support_)[None], torch.from_numpy(queries)[None]
        )
        temperatures = {
            "inlier_temperature": self.inlier_temperature,
            "class_temperature": self.class_temperature,
        }
        labels = torch.from_numpy(self.labels_.astype(np.int64))[None]
        means = oslo_means(
            support, labels, batch, len(self.classes_), steps=self.steps, **temperatures
        )
        z, odds = oslo_answers(batch, means, **temperatures)
        xi = odds.sigmoid()[0].numpy()
        if self.cohort_ is None:
            threshold = float(self.threshold or 0)
        else:
            threshold = conformal_threshold(
                xi[len(x) :], self.false_accept_rate, groups=self.cohort_groups_
            )
        return z[0, : len(x)].numpy(), xi[: len(x)], threshold
