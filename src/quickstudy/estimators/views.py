"""Views of a fitted model that a person can look at: its error curve, and its map."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.algorithms import proto_maml
from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.encoders import Identity
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.encoding import TABLE
from quickstudy.estimators.findings import examine
from quickstudy.estimators.fitted import FittedModel
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.rejection import membership_left_out
from quickstudy.estimators.scaling import unit

METHODS = ("prototype", "cosine", "ridge", "logistic", "gaussian", "proto-maml", "in-context")
"""Heads of a `FewShotClassifier`; gradient steps of a last layer that starts at the prototypes
(`quickstudy.algorithms.proto_maml` on the vectors: what was meta-trained is the encoder); and the
network that was meta-trained to read tables, which reads the vectors.
"""
MOST_READ = 300
"""Up to so many examples "in-context" is compared: leaving out takes seconds then, and grows with
the square.
"""
_LENGTH = 10.0  # of the vectors of symbols, for which a rate of .1 is right
_POINTS = 101
_ASKED = 10


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """What each threshold would cost.

    Args:
        thresholds: from low to high, ``[P]``.
        false_accept: share of the unknowns that exceed each.
        false_reject: share of the examples that do not, each scored by the model without it;
            NaN where no class has two examples.
        unknowns, examples: how many scores the shares are of.
    """

    thresholds: Float[NDArray[np.float64], " P"]
    false_accept: Float[NDArray[np.float64], " P"]
    false_reject: Float[NDArray[np.float64], " P"]
    unknowns: int
    examples: int


@dataclass(frozen=True)
class MethodScore:
    """How one method does on the examples of a model.

    Args:
        method: one of `METHODS`.
        accuracy: by leaving one example out at a time; None where no class has two, or it is not
            compared.
        examples: how many were left out.
        seconds: to answer one vector; None where it is not compared.
        note: why it is not compared.
    """

    method: str
    accuracy: float | None
    examples: int
    seconds: float | None
    note: str = ""


@dataclass(frozen=True, eq=False)
class ExampleMap:
    """Examples in two dimensions.

    Args:
        labels: of each example.
        places: ``[n 2]``.
        explained: the share of the variance that they show.
        centre, axes: what brings other vectors onto the map.
        directions: whether vectors are brought to length 1 before, as those of an encoder; the
            length of a table's row says something.
    """

    labels: list[Any]
    places: Float[NDArray[np.float64], "n 2"]
    explained: float
    centre: Float[NDArray[np.float64], " D"]
    axes: Float[NDArray[np.float64], "D 2"]
    directions: bool = True

    def place(self, vectors: Float[NDArray[np.float64], "m D"]) -> NDArray[np.float64]:
        """Where other vectors lie, ``[m 2]``."""
        return ((unit(vectors) if self.directions else vectors) - self.centre) @ self.axes


def error_curve(model: FittedModel) -> ErrorCurve:
    """The false-accept and false-reject rates of a model by its threshold.

    Raises:
        ConfigError: of a model that never says unknown.
    """
    classifier = model.classifier
    if not isinstance(classifier, OpenSetClassifier):
        raise ConfigError(
            "The model never says unknown, so no threshold of it can be moved. Fit it with a "
            "false-accept rate."
        )
    known = classifier.estimator_
    metric = "euclidean" if known.head_.options().get("metric") == "euclidean" else "cosine"
    findings = examine(
        known.support_,
        known.labels_,
        [str(name) for name in known.classes_.tolist()],
        known.left_out_scores(),
        metric=metric,
    )
    left_out = membership_left_out(classifier, findings) if findings.judged.any() else None
    members = np.empty(0) if left_out is None else left_out
    unknowns = classifier.calibration_scores_
    everything = np.concatenate((members, unknowns, [classifier.threshold_]))
    everything = everything[np.isfinite(everything)]
    thresholds = np.linspace(everything.min(), everything.max(), _POINTS)
    false_reject = (
        (members[:, None] <= thresholds).mean(0) if len(members) else np.full(_POINTS, np.nan)
    )
    return ErrorCurve(
        thresholds,
        (unknowns[:, None] > thresholds).mean(0),
        false_reject,
        classifier.n_unknowns_,
        len(members),
    )


def compare_methods(model: FittedModel, *, methods: Sequence[str] = METHODS) -> list[MethodScore]:
    """Each method on the same examples, the most accurate first.

    Args:
        model: with the examples.
        methods: of `METHODS`.

    Raises:
        ConfigError: for another method.
    """
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"No method is called '{method}'. {did_you_mean(method, METHODS)}")
    is_table = model.encoding.kind == TABLE
    rows = [_score(model.known, method, is_table=is_table) for method in methods]
    return sorted(rows, key=lambda row: -(row.accuracy or 0.0))


def _score(known: FewShotClassifier, method: str, *, is_table: bool) -> MethodScore:
    x, n = known.support_, len(known.support_)
    if method == "in-context" and n > MOST_READ:
        note = f"It is compared up to {MOST_READ} examples, and there are {n}."
        return MethodScore(method, None, 0, None, note)
    other = FewShotClassifier(method)
    if is_table:  # the length of a row says something, that of an encoder's vector does not
        other.set_params(scaling="standardise", metric="euclidean")
    if method == "proto-maml":
        length = np.linalg.norm(x, axis=1).mean()
        x = _LENGTH * (x / max(length, 1e-12) if is_table else unit(x))
        other = FewShotClassifier("learner", learner=proto_maml(Identity(x.shape[1])))
    other.fit(x, known.classes_[known.labels_], known.weights_)
    scores = other.left_out_scores()
    judged = np.isfinite(scores).all(1)
    right = scores[judged].argmax(1) == other.labels_[judged]
    start = time.perf_counter()
    for row in x[:_ASKED]:
        other.predict(row[None])
    seconds = (time.perf_counter() - start) / len(x[:_ASKED])
    accuracy = float(right.mean()) if len(right) else None
    return MethodScore(method, accuracy, len(right), seconds)


def example_map(model: FittedModel) -> ExampleMap:
    """The examples of a model on the plane in which they differ most."""
    known, directions = model.known, model.encoding.kind != TABLE
    x = unit(known.support_) if directions else known.support_
    centre = x.mean(0)
    _, sizes, rows = np.linalg.svd(x - centre, full_matrices=False)
    axes = np.zeros((x.shape[1], 2))
    axes[:, : min(2, len(rows))] = rows[:2].T
    total = float((sizes**2).sum())
    explained = float((sizes[:2] ** 2).sum()) / total if total else 1.0
    labels = known.classes_[known.labels_].tolist()
    return ExampleMap(labels, (x - centre) @ axes, explained, centre, axes, directions)
