"""A scikit-learn classifier for few examples, to which classes can be added."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.learner import AbstractLearner
from quickstudy.estimators.advice import advise
from quickstudy.estimators.findings import examine
from quickstudy.estimators.heads import (
    AbstractHead,
    Array,
    CosineHead,
    LearnerHead,
    LogisticHead,
    PrototypeHead,
    RidgeHead,
)

HEADS = ("prototype", "cosine", "ridge", "logistic", "learner")
METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class Diagnosis:
    """What the examples themselves say of a classifier.

    Args:
        accuracy: share of the examples that are recognised by the classifier fitted without them;
            NaN where no class has two.
        confused: pairs of classes whose examples were taken for the other's, with how many, most
            first.
        single: classes of one example, about which nothing can be said.
        advice: what to do about it, in plain sentences, the most useful first (see
            `quickstudy.estimators.advice`); empty where all is well.
    """

    accuracy: float
    confused: tuple[tuple[Any, Any, int], ...]
    single: tuple[Any, ...]
    advice: tuple[str, ...]


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    """A classifier of feature vectors that learns from a few examples per class and can be changed
    class by class.

    The vectors are those of an encoder that was trained before; see `ImageEncoder` for pictures.

    Args:
        head: "prototype" (similarity to the class mean), "cosine" (a cosine classifier fine-tuned
            from the means), "ridge", "logistic", or "learner" (see ``learner``). Only "prototype"
            computes nothing but the one class when a class comes or goes; the others are fitted
            anew.
        metric: of the prototypes: "cosine" or "euclidean".
        alpha: penalty of "ridge".
        C: inverse penalty of "logistic".
        learner: for "learner": one of ``quickstudy.ALGORITHMS`` whose encoder takes vectors,
            meta-trained.

    Attributes:
        classes_: the classes, sorted.
        support_: the examples ``[N D]``, sorted by class, and ``labels_`` their places in
            ``classes_``: what changes are refitted from.
        n_features_in_: D.

    Example:
        >>> x = [[1.0, 0.1], [0.9, 0.0], [0.0, 1.0], [0.1, 0.9]]
        >>> model = FewShotClassifier().fit(x, ["oak", "oak", "elm", "elm"])
        >>> model.add_class("fir", [[-1.0, 0.0]]).predict([[0.8, 0.2], [-0.7, 0.1]])
        array(['oak', 'fir'], dtype='<U3')
    """

    classes_: NDArray[Any]
    support_: Array
    labels_: NDArray[np.int64]
    weights_: Array
    n_features_in_: int
    _head: AbstractHead
    _kept: dict[str, Any]

    def __init__(
        self,
        head: str = "prototype",
        *,
        metric: str = "cosine",
        alpha: float = 1.0,
        C: float = 1.0,
        learner: AbstractLearner[Any] | None = None,
    ) -> None:
        self.head, self.metric, self.alpha, self.C, self.learner = head, metric, alpha, C, learner

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn the classes from vectors ``[N D]`` and one label each.

        Raises:
            ValueError: for what scikit-learn's classifiers refuse (shapes that do not fit, numbers
                that are not finite).
            ConfigError: for an unknown head or metric.
        """
        checked = _validate(self, X, y, dtype=np.float64)
        if (
            checked[1].dtype.kind == "f"
        ):  # of other labels it only warns, where many classes have few examples
            check_classification_targets(checked[1])
        weight = _weights(sample_weight, checked[0])
        self.classes_, labels = np.unique(column_or_1d(checked[1]), return_inverse=True)
        order = np.argsort(labels, kind="stable")
        self.support_, self.labels_, self.weights_ = (
            checked[0][order],
            labels[order].astype(np.int64),
            weight[order],
        )
        return self._refitted()

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely class of each vector."""
        best = self.class_scores(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> Array:
        """How likely each class is among those that are known, ``[n C]``; rows sum to 1. It says
        nothing of strangers: see `OpenSetClassifier`.

        The softmax of the scores, with a temperature chosen on the examples, each scored by the
        classifier without it.
        """
        scores = self.class_scores(X) / self.temperature
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def decision_function(self, X: Any) -> Array:
        """The scores of the classes, ``[n C]``; of two classes how much more the second gets,
        ``[n]``.
        """
        scores = self.class_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def class_scores(self, X: Any) -> Array:
        """The scores of the classes, ``[n C]``, also where there are two."""
        check_is_fitted(self)
        return self._head.scores(self._vectors(X))

    @property
    def temperature(self) -> float:
        """What the scores are divided by to become probabilities; chosen when it is first asked
        for, as that takes every example once.
        """
        check_is_fitted(self)
        if "temperature" not in self._kept:
            scores = self.left_out_scores()
            known = np.isfinite(scores).all(1)
            self._kept["temperature"] = _best_temperature(
                scores[known], self.labels_[known], self._head.temperature
            )
        return self._kept["temperature"]

    @temperature.setter
    def temperature(self, value: float) -> None:
        """One that was chosen before, or on other examples; it holds until a class changes."""
        check_is_fitted(self)
        self._kept["temperature"] = value

    def add_class(self, name: Any, X: Any, sample_weight: Any = None) -> Self:
        """Learn one more class; the result equals that of fitting anew with its examples.

        Raises:
            ValueError: when there is a class of this name (use `update_class`), or no example.
        """
        check_is_fitted(self)
        if name in self.classes_.tolist():
            raise ValueError(
                f"There is a class {name!r} already. Use update_class to give it other examples."
            )
        return self._changed(name, X, sample_weight)

    def update_class(self, name: Any, X: Any, sample_weight: Any = None) -> Self:
        """Give a class other examples."""
        self._place(name)
        return self._changed(name, X, sample_weight)

    def remove_class(self, name: Any) -> Self:
        """Forget a class and its examples.

        Raises:
            ValueError: when there is no such class, or no other.
        """
        at = self._place(name)
        if len(self.classes_) == 1:
            raise ValueError(f"{name!r} is the only class; a classifier needs one. Fit anew.")
        keep = self.labels_ != at
        self.support_, self.weights_ = self.support_[keep], self.weights_[keep]
        self.labels_ = self.labels_[keep] - (self.labels_[keep] > at)
        self.classes_ = np.delete(self.classes_, at)
        if isinstance(self._head, PrototypeHead):
            self._head.means = np.delete(self._head.means, at, 0)
            return self._forgotten()
        return self._refitted()

    def left_out_scores(self) -> Array:
        """The scores of each example ``[N C]``, from the classifier without it; NaN for those that
        are alone in their class.

        Of more than 100 examples one of every class is left out at a time, except with prototypes.
        """
        check_is_fitted(self)
        if "left out" not in self._kept:
            self._kept["left out"] = self._head.left_out(
                self.support_, self.labels_, len(self.classes_), self.weights_
            )
        return self._kept["left out"].copy()

    def diagnose(self) -> Diagnosis:
        """Leave-one-out accuracy, the classes that are taken for each other, and what to photograph
        next.
        """
        names = self.classes_.tolist()
        metric = self.metric if self.head == "prototype" else "cosine"
        told = examine(
            self.support_,
            self.labels_,
            [str(name) for name in names],
            self.left_out_scores(),
            metric=metric,
        )
        tried = int(told.judged.sum())
        accuracy = int(told.right.sum()) / tried if tried else float("nan")
        confused = tuple((names[a], names[b], n) for a, b, n in told.confused())
        single = tuple(names[c] for c in np.flatnonzero(told.counts == 1))
        return Diagnosis(accuracy, confused, single, tuple(a.text for a in advise(told)))

    def _changed(self, name: Any, X: Any, sample_weight: Any) -> Self:
        rows = self._vectors(X)
        weight = _weights(sample_weight, rows)
        old = self.classes_.tolist()
        classes = np.unique(np.asarray([*old, name]))
        if len(classes) < len({*old, name}):
            raise ValueError(
                f"{name!r} cannot be told from another class by its name. Choose a name of the "
                f"same kind as {old[0]!r}."
            )
        at = int(np.searchsorted(classes, np.asarray([name], dtype=classes.dtype))[0])
        is_new = name not in old
        keep: Any = (
            slice(None) if is_new else self.labels_ != at
        )  # a slice copies nothing: the examples may be many megabytes
        labels = self.labels_[keep] + (self.labels_[keep] >= at if is_new else 0)
        place = int(np.searchsorted(labels, at))
        self.support_ = np.insert(self.support_[keep], place, rows, axis=0)
        self.weights_ = np.insert(self.weights_[keep], place, weight)
        self.labels_ = np.insert(labels, place, np.full(len(rows), at))
        self.classes_ = classes
        if isinstance(self._head, PrototypeHead):
            mean = self._head.mean(self._head.prepared(rows), weight)
            means = self._head.means if is_new else np.delete(self._head.means, at, 0)
            self._head.means = np.insert(means, at, mean, axis=0)
            return self._forgotten()
        return self._refitted()

    def _refitted(self) -> Self:
        self._head = self._make_head().fit(
            self.support_, self.labels_, len(self.classes_), self.weights_
        )
        return self._forgotten()

    def _forgotten(self) -> Self:
        self._kept = {}
        return self

    def _make_head(self) -> AbstractHead:
        if self.metric not in METRICS:
            raise ConfigError(
                f"Prototypes have no metric '{self.metric}'. {did_you_mean(self.metric, METRICS)}"
            )
        match self.head:
            case "prototype":
                return PrototypeHead(metric=self.metric)
            case "cosine":
                return CosineHead()
            case "ridge":
                return RidgeHead(alpha=self.alpha)
            case "logistic":
                return LogisticHead(c=self.C)
            case "learner":
                if self.learner is None:
                    raise ConfigError(
                        "head='learner' needs the learner: FewShotClassifier('learner', learner=…)."
                    )
                return LearnerHead(learner=self.learner)
            case other:
                raise ConfigError(f"There is no head '{other}'. {did_you_mean(other, HEADS)}")

    def _vectors(self, X: Any) -> Array:
        return _validate(self, X, dtype=np.float64, reset=False)

    def _place(self, name: Any) -> int:
        check_is_fitted(self)
        names = self.classes_.tolist()
        if name not in names:
            raise ValueError(
                f"There is no class {name!r}. {did_you_mean(str(name), [str(n) for n in names])}"
            )
        return names.index(name)


_validate: Any = validate_data  # whose stubs know no arrays


def _weights(given: Any, x: Array) -> Array:
    checked: Any = _check_sample_weight(given, x, dtype=np.float64, ensure_non_negative=True)
    return checked


def _best_temperature(scores: Array, labels: NDArray[np.int64], otherwise: float) -> float:
    """What gives the examples the highest likelihood, within a factor of 100 of what is usual; that
    itself where there are few.
    """
    if len(scores) < 2 or scores.shape[1] < 2:
        return otherwise

    def loss(log_t: float) -> float:
        z = scores / np.exp(log_t)
        z = z - z.max(1, keepdims=True)
        return float((np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).mean())

    middle = np.log(otherwise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = minimize_scalar(
            loss, bounds=(middle - np.log(100), middle + np.log(100)), method="bounded"
        )
    return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue] - scipy's stubs
