"""A classifier that knows when it does not know."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, QuickstudyWarning
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.cohort import CohortOverlap, find_overlap
from quickstudy.estimators.membership import TEMPERED, AbstractMembership, score_named
from quickstudy.estimators.scaling import Array, unit
from quickstudy.estimators.validation import check_vectors, kind_of, with_label
from quickstudy.metrics.thresholds import conformal_threshold

_ROUNDING = 1e-9  # of a score


@dataclass(frozen=True)
class OpenSetPrediction:
    """What is said of one vector.

    Args:
        label: the class, or None for somebody or something unknown.
        best: the nearest class, also where it was not near enough.
        score: how much the vector looks like a member, higher = more.
        threshold: what the score had to exceed.
        certain: False where the score lies in the band in which a person should look.
    """

    label: Any
    best: Any
    score: float
    threshold: float
    certain: bool


class OpenSetClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Answers with a class, or with "unknown", at a false-accept rate that was asked for.

    A vector is accepted where its membership score is above a threshold: the conformal quantile of
    the scores that unknowns get. The unknowns are a cohort, vectors of things that belong to none
    of the classes, by the same encoder; without one each class is left out in turn and plays the
    unknown to the others, which takes twice as many classes as a cohort has members: see
    `quickstudy.metrics.thresholds.conformal_threshold`. Of two classes one is left then, of which
    most heads say the same whatever they are asked: that is refused. Several vectors of one unknown
    count as one: they resemble each other.

    Args:
        estimator: a `FewShotClassifier`; None is one with prototypes.
        unknown_score: the membership score: "max_similarity" (the best class's score), "nearest"
            (cosine to the nearest example), "energy" (log Σ exp of the scores), "mahalanobis"
            (minus the squared distance to the nearest class mean under the shrunken covariance
            within the classes), or "max_probability" (the best class's probability, as
            log odds: near 1 probabilities of different vectors round to the same number).
        false_accept_rate: the wanted share of unknowns who are taken for members.
        review_rate: the share of unknowns at which a person should look: between the two
            thresholds a decision is not `certain`. 0 = none.
        reject_label: what `predict` answers for unknowns; of the same kind as the labels, so that
            scikit-learn's metrics take the predictions. None = "unknown" among texts, −1 among
            numbers.

    Attributes:
        reject_label_: what `predict` answers for unknowns.
        threshold_: what a score must exceed.
        scorer_: what gives the membership scores.
        review_threshold_: where certainty begins.
        rate_: the false-accept rate that it is drawn for.
        rule_: "cohort" or "leave one class out".
        calibration_scores_: the scores the threshold comes from.
        cohort_overlap_: the members of the cohort that resemble a class as its own examples do;
            None where there is no sign of any.
        negatives_: vectors that a person said belong to no class, see `add_negative`; None where
            there are none.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> members = np.repeat(np.eye(8)[:2], 5, axis=0) + rng.normal(size=(10, 8)) / 20
        >>> model = OpenSetClassifier(false_accept_rate=0.05).fit(
        ...     members, ["a"] * 5 + ["b"] * 5, cohort=rng.normal(size=(99, 8))
        ... )
        >>> model.predict(np.eye(8)[[0, 5]])
        array(['a', 'unknown'], dtype='<U7')
    """

    estimator_: FewShotClassifier
    scorer_: AbstractMembership
    calibration_scores_: Array
    threshold_: float
    review_threshold_: float
    rate_: float
    rule_: str
    reject_label_: Any
    cohort_overlap_: CohortOverlap | None
    cohort_: Array | None
    cohort_groups_: NDArray[Any] | None
    negatives_: Array | None

    def __init__(
        self,
        estimator: FewShotClassifier | None = None,
        *,
        unknown_score: str = "max_similarity",
        false_accept_rate: float = 0.05,
        review_rate: float = 0.0,
        reject_label: Any = None,
    ) -> None:
        self.estimator = estimator
        self.unknown_score = unknown_score
        self.false_accept_rate = false_accept_rate
        self.review_rate = review_rate
        self.reject_label = reject_label

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        cohort: Any = None,
        cohort_groups: Any = None,
    ) -> Self:
        """Learn the classes, and from the cohort (or the classes themselves) where to draw the
        line.

        Args:
            X, y, sample_weight: as of the estimator.
            cohort: vectors ``[n D]`` of unknowns; None lets each class in turn be the unknown.
            cohort_groups: whose each vector of the cohort is, ``[n]``, where there are several of
                one unknown; None = each of another.

        Raises:
            ConfigError: when there are too few unknowns for the rate, the label for unknowns is a
                class, or one of two classes, left out, says nothing of unknowns.
        """
        if not 0 <= self.review_rate < 1:
            raise ConfigError(
                "review_rate is the share of the false-accept rate above which an answer is "
                f"certain, from 0 to below 1, got {self.review_rate}."
            )
        made: Any = clone(FewShotClassifier() if self.estimator is None else self.estimator)
        self.estimator_ = made
        self.estimator_.fit(X, y, sample_weight)
        self._check_reject_label()
        self.cohort_ = None if cohort is None else check_vectors(self, cohort)
        self.cohort_groups_ = None if cohort_groups is None else np.asarray(cohort_groups)
        self.negatives_ = None
        return self.calibrate()

    def calibrate(self, false_accept_rate: float | None = None) -> Self:
        """Score the unknowns and draw the line anew, as `add_class` and its like do after a
        change. For another rate alone, `set_rate` is quicker.
        """
        check_is_fitted(self, "estimator_")
        self.scorer_ = score_named(self.unknown_score).fit(self.estimator_)
        known = self.estimator_
        self.cohort_overlap_ = None
        if self.cohort_ is not None:
            self.rule_ = "cohort"
            self.calibration_scores_ = self.scorer_.scores(self.cohort_)
            self.cohort_overlap_ = find_overlap(
                self.cohort_,
                self.cohort_groups_,
                known.support_,
                known.labels_,
                known.classes_,
                known.weights_,
            )
            if self.cohort_overlap_ is not None:
                warnings.warn(str(self.cohort_overlap_), QuickstudyWarning, stacklevel=2)
        else:
            self.rule_ = "leave one class out"
            self.calibration_scores_ = self._each_class_left_out()
        if self.negatives_ is not None:
            self.calibration_scores_ = np.concatenate(
                (self.calibration_scores_, self.scorer_.scores(self.negatives_))
            )
        self.set_rate(self.false_accept_rate if false_accept_rate is None else false_accept_rate)
        self._check_two_classes()
        return self

    def set_rate(self, false_accept_rate: float) -> Self:
        """Draw the line for another rate, by the scores that the unknowns have.

        Raises:
            ConfigError: when there are too few of them.
        """
        check_is_fitted(self, "calibration_scores_")
        line = self._threshold(false_accept_rate)
        sure = line
        if self.review_rate:
            sure = self._threshold(false_accept_rate * self.review_rate)
        self.rate_ = false_accept_rate
        self.threshold_ = line
        self.review_threshold_ = sure
        return self

    def restore(
        self,
        estimator: FewShotClassifier,
        calibration_scores: Array,
        *,
        cohort: Array | None,
        cohort_groups: Any = None,
        negatives: Array | None = None,
    ) -> Self:
        """What `fit` would make, from a fitted classifier and the scores that unknowns got then:
        nothing is scored again.

        Args:
            estimator: fitted.
            calibration_scores: as in ``calibration_scores_``.
            cohort, cohort_groups: as given to `fit`.
            negatives: as in ``negatives_``.
        """
        self.estimator_, self.scorer_ = estimator, score_named(self.unknown_score).fit(estimator)
        self.cohort_, self.cohort_groups_ = cohort, cohort_groups
        self.negatives_ = negatives
        self.cohort_overlap_ = None
        self.calibration_scores_ = calibration_scores
        self.rule_ = "leave one class out" if cohort is None else "cohort"
        self._check_reject_label()
        return self.set_rate(self.false_accept_rate)

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes, without the unknown."""
        return self.estimator_.classes_

    @property
    def n_features_in_(self) -> int:
        """Length of a vector."""
        return self.estimator_.n_features_in_

    @property
    def feature_names_in_(self) -> NDArray[Any]:
        """The names of the features, where the examples had names."""
        return self.estimator_.feature_names_in_

    @property
    def n_unknowns_(self) -> int:
        """How many unknowns the threshold was drawn by; several vectors of one count once."""
        groups = self._groups()
        return len(self.calibration_scores_) if groups is None else len(np.unique(groups))

    def membership(self, X: Any) -> Array:
        """How much each vector looks like a member, ``[n]``.

        One that is nearer to a negative than to every example has the lowest score that an unknown
        got, so it is refused. Nothing is accepted for that, so the false-accept rate is kept.
        """
        check_is_fitted(self, "threshold_")
        x = check_vectors(self, X)
        scores = self.scorer_.scores(x)
        if self.negatives_ is None:
            return scores
        rows = unit(x)
        near = (rows @ unit(self.negatives_).T).max(1)
        is_negative = near > (rows @ unit(self.estimator_.support_).T).max(1)
        return np.where(is_negative, np.minimum(scores, self.calibration_scores_.min()), scores)

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of each vector, or the label for unknowns."""
        known = self.membership(X) > self.threshold_
        return labels_or_reject(self.estimator_.predict(X), known, self.reject_label_)

    def predict_proba(self, X: Any) -> Array:
        """As of the estimator: among the known classes, given that it is one of them."""
        check_is_fitted(self, "threshold_")
        return self.estimator_.predict_proba(X)

    def _threshold(self, rate: float) -> float:
        return conformal_threshold(
            self.calibration_scores_,
            rate,
            groups=self._groups(),
            left_out=self.cohort_ is None,
        )

    def _groups(self) -> NDArray[Any] | None:
        """Whose each of the calibration scores is; None where every one is of another unknown."""
        groups = self.estimator_.labels_ if self.cohort_ is None else self.cohort_groups_
        if groups is None or self.negatives_ is None:
            return groups
        numbers = np.unique(groups, return_inverse=True)[1]
        more = np.arange(len(self.negatives_)) + len(np.unique(numbers))
        return np.concatenate((numbers, more))

    def predict_sets(
        self,
        X: Any,
        alpha: float = 0.1,
        *,
        by_class: bool = False,
        calibration: tuple[Any, Any] | None = None,
    ) -> list[tuple[Any, ...]]:
        """As of `FewShotClassifier.predict_sets`, and the reject label last where the membership
        score is not above the threshold.

        So a member's class is missing in a share α at most, and "unknown" is missing from an
        unknown's set at the false-accept rate at most.
        """
        known = self.membership(X) > self.threshold_
        sets = self.estimator_.predict_sets(X, alpha, by_class=by_class, calibration=calibration)
        return [
            labels if is_known else (*labels, self.reject_label_)
            for labels, is_known in zip(sets, known.tolist(), strict=True)
        ]

    def decide(self, X: Any) -> list[OpenSetPrediction]:
        """The class or None of each vector, with score, threshold and whether a person should
        look.
        """
        scores, best = self.membership(X), self.estimator_.predict(X)
        low, high = sorted((self.threshold_, self.review_threshold_))
        return [
            OpenSetPrediction(
                b if s > self.threshold_ else None,
                b,
                float(s),
                self.threshold_,
                not (low < s <= high),
            )
            for s, b in zip(scores, best.tolist(), strict=True)
        ]

    def copied(self) -> Self:
        """A copy that can be changed while this one answers, as of `FewShotClassifier.copied`."""
        other = copy.copy(self)
        other.estimator_ = self.estimator_.copied()
        return other

    def add_class(self, name: Any, X: Any) -> Self:
        """As of `FewShotClassifier`; the threshold follows. Nothing is changed where it cannot."""
        return self._after(lambda model: model.add_class(name, X))

    def update_class(self, name: Any, X: Any) -> Self:
        """Likewise."""
        return self._after(lambda model: model.update_class(name, X))

    def remove_class(self, name: Any) -> Self:
        """Likewise."""
        return self._after(lambda model: model.remove_class(name))

    def rename_class(self, name: Any, new: Any) -> Self:
        """Likewise."""
        return self._after(lambda model: model.rename_class(name, new))

    def add_negative(self, X: Any) -> Self:
        """Keep vectors ``[n D]`` that belong to no class: each counts as one unknown more, and what
        is nearer to one of them than to every example is unknown from now on.
        """
        x = check_vectors(self, X)
        before = self.negatives_
        return self._with_negatives(x if before is None else np.concatenate((before, x)))

    def remove_negative(self, X: Any) -> Self:
        """Forget negatives, given the same vectors.

        Raises:
            ValueError: when one is none of them.
        """
        x = check_vectors(self, X)
        kept = np.empty((0, x.shape[1])) if self.negatives_ is None else self.negatives_
        for row in x:
            same = np.flatnonzero((kept == row).all(1))
            if not len(same):
                raise ValueError(
                    f"Of the {len(kept)} negatives none is this vector. Give one that was added."
                )
            kept = np.delete(kept, same[0], axis=0)
        return self._with_negatives(kept if len(kept) else None)

    def _with_negatives(self, negatives: Array | None) -> Self:
        before = dict(vars(self))
        self.negatives_ = negatives
        try:
            return self.calibrate(self.rate_)
        except Exception:
            vars(self).update(before)
            raise

    def _after(self, change: Callable[[FewShotClassifier], object]) -> Self:
        before = dict(vars(self))
        self.estimator_ = copy.deepcopy(self.estimator_)
        try:
            change(self.estimator_)
            self._check_reject_label()
            return self.calibrate(self.rate_)
        except Exception:
            vars(self).update(before)
            raise

    def _check_reject_label(self) -> None:
        self.reject_label_ = reject_label_among(self.estimator_.classes_, self.reject_label)

    def _each_class_left_out(self) -> Array:
        """The scores of every class's examples by a classifier that does not know the class."""
        model = self.estimator_
        if len(model.classes_) < 2:
            raise ConfigError(
                "With one class and no cohort nothing is learned about unknowns. Give fit(…, "
                "cohort=vectors of other things)."
            )
        if self.unknown_score == "max_similarity" and model.head_.is_separate:
            scores = model.head_.scores(model.support_)
            scores[np.arange(len(scores)), model.labels_] = -np.inf
            return scores.max(1)
        out = []
        for at, name in enumerate(model.classes_.tolist()):
            out.append(self._scorer_without(name).scores(model.support_[model.labels_ == at]))
        return np.concatenate(out)

    def _scorer_without(self, name: Any) -> AbstractMembership:
        """What would give the membership scores if a class were not known."""
        other = self.estimator_.without(name)
        if self.unknown_score in TEMPERED:
            other.temperature = self.estimator_.temperature  # or the scores would differ in scale
        return score_named(self.unknown_score).fit(other)

    def _check_two_classes(self) -> None:
        """One of two classes, left out, must show something of unknowns."""
        model = self.estimator_
        if self.cohort_ is not None or len(model.classes_) != 2:
            return
        for name in model.classes_.tolist():
            if _are_all_one(self._scorer_without(name).scores(model.support_)):
                raise ConfigError(
                    "Of two classes, one of them left out, the head has a single one, and then "
                    f"its score '{self.unknown_score}' is the same for every vector: nothing is "
                    "learned about unknowns. Give a cohort of things that belong to no class, a "
                    "third class, or the score 'nearest', which compares with the examples."
                )


def _are_all_one(scores: Array) -> bool:
    return bool(np.ptp(scores) <= _ROUNDING * max(1.0, np.abs(scores).max()))


def reject_label_among(classes: NDArray[Any], asked: Any) -> Any:
    """What unknowns are called among classes: ``asked``, or "unknown" or −1 where it is None.

    Raises:
        ConfigError: when it is a class, or of another kind than the classes.
    """
    label = asked
    if label is None:
        label = "unknown" if classes.dtype.kind in "UO" else -1
        if classes.dtype.kind == "f":
            label = -1.0
    first = classes.tolist()[0]
    if kind_of(label) != kind_of(first) or classes.dtype.kind == "b":
        raise ConfigError(
            f"Unknowns would be called {label!r}, which is {kind_of(label)}, but classes are "
            f"called by {kind_of(first)} each, such as {first!r}. Choose a reject_label of the "
            "same kind, as metrics take labels of one kind only; truth values leave none."
        )
    if label in classes.tolist():
        raise ConfigError(
            f"{label!r} is a class, so it cannot mean unknown. Give the class another name, or "
            "choose another reject_label."
        )
    return label


def labels_or_reject(
    labels: NDArray[Any], known: NDArray[np.bool_], reject_label: Any
) -> NDArray[Any]:
    """The labels of what is known, and the reject label elsewhere, in one dtype."""
    if labels.dtype.kind == "u":
        labels = labels.astype(np.int64)
    out = with_label(labels, reject_label)[:-1].copy() if len(labels) else labels
    out[~known] = reject_label
    return out
