"""What a classifier says of vectors, whether or not it knows unknowns."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from quickstudy.core.arrays import NDArray
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.open_set import OpenSetClassifier, OpenSetPrediction
from quickstudy.estimators.prediction import Prediction

Classifier: TypeAlias = FewShotClassifier | OpenSetClassifier


def decisions(
    classifier: Classifier, x: Float[NDArray[np.float64], "n D"]
) -> list[OpenSetPrediction]:
    """A decision for each vector. One of a classifier that never says unknown is never certain, and
    its threshold is −∞.
    """
    if isinstance(classifier, OpenSetClassifier):
        return classifier.decide(x)
    scores = classifier.class_scores(x)
    best = classifier.classes_[scores.argmax(1)].tolist()
    return [
        OpenSetPrediction(label, label, float(score), -np.inf, False)
        for label, score in zip(best, scores.max(1), strict=True)
    ]


def predictions(
    classifier: Classifier,
    items: Sequence[Any],
    x: Float[NDArray[np.float64], "n D"],
    set_alpha: float | None = None,
) -> list[Prediction]:
    """What a classifier says of items.

    Args:
        classifier: what is asked.
        items: what the vectors are of, ``[n]``.
        x: their vectors.
        set_alpha: the share of misses of the prediction sets that the answers carry; None = none.
    """
    if not len(items):
        return []
    likely = classifier.predict_proba(x).max(1).tolist()
    sets = [()] * len(x) if set_alpha is None else classifier.predict_sets(x, set_alpha)
    found = []
    for item, decision, p, classes in zip(
        items, decisions(classifier, x), likely, sets, strict=True
    ):
        answer = Prediction(item, decision.label, p, decision.score, classes=classes)
        if isinstance(classifier, OpenSetClassifier):
            is_known = decision.label is not None
            answer = replace(
                answer,
                label=decision.label if is_known else classifier.reject_label_,
                threshold=decision.threshold,
                certain=decision.certain,
                nearest=None if is_known else decision.best,
            )
        found.append(answer)
    return found
