"""A scikit-learn classifier for few examples, to which classes can be added."""

import copy
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.learner import AbstractLearner
from quickstudy.estimators.advice import advise
from quickstudy.estimators.blas import one_thread_where_small
from quickstudy.estimators.comparison import IN_CONTEXT, HeadComparison, choices_for, compare_heads
from quickstudy.estimators.findings import examine
from quickstudy.estimators.heads import (
    AbstractHead,
    CosineHead,
    LearnerHead,
    PrototypeHead,
)
from quickstudy.estimators.in_context_head import InContextHead
from quickstudy.estimators.linear_heads import GaussianHead, LogisticHead, RidgeHead
from quickstudy.estimators.scaling import METRICS, SCALINGS, Array
from quickstudy.estimators.sets import ConformalSets
from quickstudy.estimators.validation import (
    check_labels,
    check_vectors,
    check_weights,
    is_missing,
    kind_of,
    with_label,
)

HEADS = ("auto", "prototype", "cosine", "ridge", "logistic", "gaussian", "in-context", "learner")
# How far the temperature may be from the usual gap between scores, in natural logarithms.
_WIDEST = 7.0
_USUAL_SCALING = {"prototype": "none", "cosine": "none"}


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
            from the means), "ridge", "logistic", "gaussian" (one for each class, with one
            covariance), "in-context" (a network that reads the columns of a table, see
            `InContextClassifier`), "learner" (see ``learner``), or "auto", the one of these that
            the examples prefer (`quickstudy.estimators.comparison.compare_heads`). Only "prototype"
            computes nothing but the one class when a class comes or goes; the others are fitted
            anew.
        scaling: how vectors are made comparable by the mean and deviation of the examples: "none",
            "centre", "standardise", or "auto": none for "prototype" and "cosine", centred for the
            others. Head "auto" tries several of vectors of any kind; with "centre", as of vectors
            of an encoder, it tries the centred heads and "prototype" only, and with "standardise",
            as of the columns of a table, "in-context" takes part and the standardised ones come
            first. Not for "in-context" and "learner".
        metric: "cosine", vectors have length 1; "euclidean", they keep their length, as numbers of
            a table should.
        alpha: penalty of "ridge"; None = chosen by leaving examples out.
        C: inverse penalty of "logistic"; None likewise.
        learner: for "learner": one of ``quickstudy.algorithms`` whose encoder takes vectors,
            meta-trained.

    Attributes:
        classes_: the classes, sorted.
        support_: the examples ``[N D]``, sorted by class, ``labels_`` their places in
            ``classes_``, and ``weights_``: what changes are refitted from.
        head_: what scores; see `quickstudy.estimators.heads.AbstractHead`.
        head_comparison_: of head "auto", how each head fared, which was taken, and how sure that
            is; else None.
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
    feature_names_in_: NDArray[Any]
    head_: AbstractHead
    head_comparison_: HeadComparison | None
    _kept: dict[str, Any]

    def __init__(
        self,
        head: str = "prototype",
        *,
        scaling: str = "auto",
        metric: str = "cosine",
        alpha: float | None = None,
        C: float | None = None,
        learner: AbstractLearner[Any] | None = None,
    ) -> None:
        self.head = head
        self.scaling = scaling
        self.metric = metric
        self.alpha = alpha
        self.C = C
        self.learner = learner

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        comparison: HeadComparison | None = None,
    ) -> Self:
        """Learn the classes from vectors ``[N D]`` and one label each.

        Args:
            X, y: the vectors, and their labels: texts, whole numbers, numbers or truth values.
            sample_weight: of each example; None = 1.
            comparison: of head "auto": one that was made before on these examples, so that it is
                not made again, as when a model is read back.

        Raises:
            ValueError: for what scikit-learn's classifiers refuse (shapes that do not fit, numbers
                that are not finite).
            DataError: for missing labels, labels of several kinds, features above 1e150, or a class
                whose examples have no weight.
            ConfigError: for an unknown head, scaling or metric.
        """
        x = check_vectors(self, X, reset=True)
        given = check_labels(y, len(x))
        self.classes_, labels = np.unique(given, return_inverse=True)
        weight = check_weights(sample_weight, x, labels, self.classes_)
        order = np.argsort(labels, kind="stable")
        self.support_ = x[order]
        self.labels_ = labels[order].astype(np.int64)
        self.weights_ = weight[order]
        return self._refitted(comparison)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely class of each vector."""
        best = self.class_scores(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> Array:
        """How likely each class is among those that are known, ``[n C]``; rows sum to 1. It says
        nothing of unknowns: see `OpenSetClassifier`.

        The softmax of the scores, with a temperature chosen on the examples, each scored by the
        classifier without it.
        """
        scores = self.class_scores(X) / self.temperature
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)

    def predict_sets(
        self,
        X: Any,
        alpha: float = 0.1,
        *,
        by_class: bool = False,
        calibration: tuple[Any, Any] | None = None,
    ) -> list[tuple[Any, ...]]:
        """So many classes for each vector that the right one is missing in a share α of cases at
        most, the most likely first (`quickstudy.estimators.sets`); never none.

        With calibration examples the promise holds on average over fits and examples, as far as
        the vectors asked for are like these. Without, examples are left out in turn; what is
        proven then is 2 α (Vovk, Nouretdinov, Gammerman 2018), what is usual is α or below, as each
        class has one example less than the classifier.

        Args:
            X: the vectors ``[n D]``.
            alpha: the share of misses.
            by_class: promise it for every class, not on average over classes as frequent as
                among the examples.
            calibration: vectors and labels that the classifier was not fitted to.

        Raises:
            ConfigError: when there are too few examples for this α.
        """
        check_is_fitted(self)
        x = check_vectors(self, X)
        known = self._sets(calibration)
        inside = known.sets(x, alpha, by_class=by_class)
        scores = self.head_.scores(x)
        inside[np.arange(len(x)), scores.argmax(1)] = True
        names = self.classes_.tolist()
        order = np.argsort(-scores, axis=1, kind="stable")
        return [
            tuple(names[c] for c in places if belongs[c])
            for places, belongs in zip(order.tolist(), inside.tolist(), strict=True)
        ]

    def decision_function(self, X: Any) -> Array:
        """The scores of the classes, ``[n C]``; of two classes how much more the second gets,
        ``[n]``.
        """
        scores = self.class_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def class_scores(self, X: Any) -> Array:
        """The scores of the classes, ``[n C]``, also where there are two."""
        check_is_fitted(self)
        return self.head_.scores(check_vectors(self, X))

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
                scores[known], self.labels_[known], self.head_.temperature
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
            DataError: when the name is of another kind than those of the classes.
        """
        check_is_fitted(self)
        if self._has(name):
            raise ValueError(
                f"There is a class {name!r} already. Use update_class to give it other examples "
                "(on the command line: add-class --replace)."
            )
        classes = with_label(self.classes_, name)
        rows = check_vectors(self, X)
        at = int(np.searchsorted(classes[:-1], classes[-1:])[0])
        weight = check_weights(sample_weight, rows, np.zeros(len(rows), np.int64), classes[-1:])
        self._insert(at, rows, weight, self.labels_ + (self.labels_ >= at))
        self.classes_ = np.insert(classes[:-1], at, classes[-1:])
        return self._changed(self.head_.add(at, rows, weight))

    def update_class(self, name: Any, X: Any, sample_weight: Any = None) -> Self:
        """Give a class other examples."""
        at = self._place(name)
        rows = check_vectors(self, X)
        weight = check_weights(
            sample_weight, rows, np.zeros(len(rows), np.int64), self.classes_[at : at + 1]
        )
        self._delete(at)
        self._insert(at, rows, weight, self.labels_)
        return self._changed(self.head_.remove(at) and self.head_.add(at, rows, weight))

    def remove_class(self, name: Any) -> Self:
        """Forget a class and its examples.

        Raises:
            ValueError: when there is no such class, or no other.
        """
        at = self._place(name)
        if len(self.classes_) == 1:
            raise ValueError(f"{name!r} is the only class; a classifier needs one. Fit anew.")
        self._delete(at)
        self.labels_ = self.labels_ - (self.labels_ > at)
        self.classes_ = np.delete(self.classes_, at)
        return self._changed(self.head_.remove(at))

    def rename_class(self, name: Any, new: Any) -> Self:
        """Give a class another name.

        Raises:
            ValueError: when there is no such class, or one of the new name.
            DataError: when the new name is of another kind than those of the classes.
        """
        at = self._place(name)
        if self._has(new):
            raise ValueError(f"There is a class {new!r} already. Choose another name.")
        names = with_label(self.classes_, new)
        labels = np.where(self.labels_ == at, len(self.classes_), self.labels_)
        return self.fit(
            self.support_, names[labels], self.weights_, comparison=self.head_comparison_
        )

    def copied(self) -> Self:
        """A copy whose classes can be changed while this one answers; what no change touches is
        shared.
        """
        other = copy.copy(self)
        other.head_ = copy.copy(self.head_)
        other._kept = dict(self._kept)
        return other

    def without(self, name: Any) -> "FewShotClassifier":
        """A copy that does not know a class; its head is fitted anew with the same options, so that
        head "auto" is not chosen again.

        Raises:
            ValueError: when there is no such class.
        """
        at = self._place(name)
        other = copy.copy(self)
        other._kept = {}
        other._delete(at)
        other.labels_ = other.labels_ - (other.labels_ > at)
        other.classes_ = np.delete(self.classes_, at)
        with one_thread_where_small(self.support_.size):
            other.head_ = type(self.head_)(**self.head_.options()).fit(
                other.support_, other.labels_, len(other.classes_), other.weights_
            )
        return other

    def left_out_scores(self) -> Array:
        """The scores of each example ``[N C]``, from the classifier without it; NaN for those that
        are alone in their class.

        One of every class is left out at a time, so that the class of the example is not the only
        one that is smaller; of classes of more than 20 examples a twentieth.
        """
        check_is_fitted(self)
        if "left out" not in self._kept:
            with one_thread_where_small(self.support_.size):
                self._kept["left out"] = self.head_.left_out(
                    self.support_, self.labels_, len(self.classes_), self.weights_
                )
        return self._kept["left out"].copy()

    def diagnose(self) -> Diagnosis:
        """Accuracy on examples left out, the classes that are taken for each other, and what to
        photograph next.
        """
        names = self.classes_.tolist()
        metric = "euclidean" if self.head_.options().get("metric") == "euclidean" else "cosine"
        findings = examine(
            self.support_,
            self.labels_,
            [str(name) for name in names],
            self.left_out_scores(),
            metric=metric,
            temperature=self.temperature,
        )
        tried = int(findings.judged.sum())
        accuracy = int(findings.right.sum()) / tried if tried else float("nan")
        confused = tuple((names[a], names[b], n) for a, b, n in findings.confused())
        single = tuple(names[c] for c in np.flatnonzero(findings.counts == 1))
        return Diagnosis(accuracy, confused, single, tuple(a.text for a in advise(findings)))

    def _sets(self, calibration: tuple[Any, Any] | None) -> ConformalSets:
        if calibration is not None:
            x = check_vectors(self, calibration[0])
            y = check_labels(calibration[1], len(x)).tolist()
            sets = ConformalSets(len(self.classes_), self.temperature)
            sets.add_round(self.head_, x, np.asarray([self._place(name) for name in y]))
            return sets
        if "sets" not in self._kept:
            sets = ConformalSets(len(self.classes_), self.temperature)
            with one_thread_where_small(self.support_.size):
                for left, head in self.head_.without_some(
                    self.support_, self.labels_, len(self.classes_), self.weights_
                ):
                    sets.add_round(head, self.support_[left], self.labels_[left])
            self._kept["sets"] = sets
        return self._kept["sets"]

    def _insert(self, c: int, x: Array, weight: Array, labels: NDArray[np.int64]) -> None:
        """Put examples of class ``c`` among the others, whose classes are ``labels``."""
        at = int(np.searchsorted(labels, c))
        self.support_ = np.insert(self.support_, at, x, axis=0)
        self.weights_ = np.insert(self.weights_, at, weight)
        self.labels_ = np.insert(labels, at, np.full(len(x), c))

    def _delete(self, c: int) -> None:
        """Take the examples of class ``c`` away."""
        keep = self.labels_ != c
        self.support_ = self.support_[keep]
        self.weights_ = self.weights_[keep]
        self.labels_ = self.labels_[keep]

    def _changed(self, head_followed: bool) -> Self:
        self._kept = {}
        return self if head_followed else self._refitted()

    def _refitted(self, comparison: HeadComparison | None = None) -> Self:
        self._kept = {}
        self.head_comparison_ = None
        self._check_names()
        with one_thread_where_small(self.support_.size):
            self._fit_head(comparison)
        return self

    def _fit_head(self, comparison: HeadComparison | None) -> None:
        examples = self.support_, self.labels_, len(self.classes_), self.weights_
        if self.head != "auto":
            self.head_ = self._make_head().fit(*examples)
        elif comparison is not None:
            self.head_comparison_ = comparison
            self.head_ = comparison.choice.make().fit(*examples)
        else:
            choices = choices_for(self.scaling, len(self.support_))
            comparison, self.head_, left_out = compare_heads(
                *examples, choices, alike=IN_CONTEXT not in choices
            )
            self.head_comparison_ = comparison
            self._kept["left out"] = left_out

    def _check_names(self) -> None:
        if self.scaling != "auto" and self.scaling not in SCALINGS:
            raise ConfigError(
                f"There is no scaling '{self.scaling}'. "
                f"{did_you_mean(self.scaling, ('auto', *SCALINGS))}"
            )
        if self.metric not in METRICS:
            raise ConfigError(
                f"There is no metric '{self.metric}'. {did_you_mean(self.metric, METRICS)}"
            )

    def _make_head(self) -> AbstractHead:
        scaling = self.scaling
        if scaling == "auto":
            scaling = _USUAL_SCALING.get(self.head, "centre")
        match self.head:
            case "prototype":
                return PrototypeHead(scaling=scaling, metric=self.metric)
            case "cosine":
                return CosineHead(scaling=scaling)
            case "ridge":
                return RidgeHead(alpha=self.alpha, scaling=scaling, metric=self.metric)
            case "logistic":
                return LogisticHead(c=self.C, scaling=scaling, metric=self.metric)
            case "gaussian":
                return GaussianHead(scaling=scaling, metric=self.metric)
            case "in-context":
                return InContextHead()
            case "learner":
                if self.learner is None:
                    raise ConfigError(
                        "head='learner' needs the learner: FewShotClassifier('learner', learner=…)."
                    )
                return LearnerHead(learner=self.learner)
            case other:
                raise ConfigError(f"There is no head '{other}'. {did_you_mean(other, HEADS)}")

    def _has(self, name: Any) -> bool:
        """Whether a class is called so, by a label of the same kind: 1 is not True."""
        plain = name.item() if isinstance(name, np.generic) else name
        names = self.classes_.tolist()
        return not is_missing(plain) and kind_of(plain) == kind_of(names[0]) and plain in names

    def _place(self, name: Any) -> int:
        check_is_fitted(self)
        names = self.classes_.tolist()
        if not self._has(name):
            raise ValueError(
                f"There is no class {name!r}. {did_you_mean(str(name), [str(n) for n in names])}"
            )
        return names.index(name.item() if isinstance(name, np.generic) else name)


def _best_temperature(scores: Array, labels: NDArray[np.int64], otherwise: float) -> float:
    """What gives the examples left out, and one more, the highest likelihood; ``otherwise`` where
    there are few.

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599), as if one more answer had been wrong,
    which came out as clearly as the median one: n right answers make as sure as n of n + 1, not
    certain.
    """
    n, n_classes = scores.shape
    if n < 2 or n_classes < 2:
        return otherwise
    gap = scores - scores[np.arange(n), labels][:, None]  # of each class above the right one
    usual = float(np.abs(gap).mean())
    if not usual > 0:
        return otherwise
    ordered = np.sort(scores, axis=1)
    clear = float(np.median(ordered[:, -1] - ordered[:, -2]))

    def loss(log_t: float) -> float:
        t = np.exp(log_t)
        losses: Any = logsumexp(gap / t, axis=1)
        return float(losses.sum() + np.logaddexp(0, clear / t))

    middle = np.log(usual)
    best: Any = minimize_scalar(loss, bounds=(middle - _WIDEST, middle + _WIDEST), method="bounded")
    return float(np.exp(best.x))
