"""What a fit found out about its examples, as data: for the screen, the page and Python alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quickstudy.estimators.advice import Rejection, advise
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.encoding import PixelLearner
from quickstudy.estimators.findings import Findings, examine
from quickstudy.estimators.open_set import OpenSetClassifier
from quickstudy.estimators.rejection import rejection_of
from quickstudy.estimators.support import is_of_table


@dataclass(frozen=True)
class FitSummary:
    """What came out of a fit besides the model.

    Args:
        items: the examples (paths, texts, numbers of rows) in the order of the classifier's
            ``support_``: sorted by class, otherwise as they came.
        skipped: files that could not be read, each with the reason.
        repeated: groups of examples with the same content in different classes.
        notes: what is to be known about encoder, examples and cohort, in plain sentences.
        advice: what to do about the examples, the most useful first.
        accuracy: the share of the examples that the classifier recognises without them; NaN where
            no class has two.
        accepted: the share of the examples that would be accepted if they came as new ones; None of
            a model that never says unknown, or where they were too many to try.
        n_left_out: how many examples are not alone in their class, so that they could be left out;
            ``accuracy`` and ``accepted`` are shares of these.
    """

    items: tuple[Any, ...]
    skipped: tuple[tuple[Path, str], ...]
    repeated: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...]
    advice: tuple[str, ...]
    accuracy: float
    accepted: float | None
    n_left_out: int = 0


def findings_of(known: FewShotClassifier, *, names: Sequence[str] | None = None) -> Findings:
    """What leaving out every example shows; pictures are compared as the head compares them.

    Args:
        known: a fitted classifier.
        names: of its classes; None = their labels.
    """
    x = known.support_
    if isinstance(known.learner, PixelLearner):
        x = known.learner.features(x)
    metric = "euclidean" if known.head_.options().get("metric") == "euclidean" else "cosine"
    shown = [str(label) for label in known.classes_.tolist()] if names is None else names
    return examine(
        x,
        known.labels_,
        shown,
        known.left_out_scores(),
        metric=metric,
        temperature=known.temperature,
    )


def summarise(
    classifier: FewShotClassifier | OpenSetClassifier,
    items: Sequence[Any],
    *,
    called: Sequence[str],
    skipped: Sequence[tuple[Path, str]],
    repeated: Sequence[tuple[Any, ...]],
    notes: Sequence[str],
) -> FitSummary:
    """The summary of a fit.

    Args:
        classifier: fitted.
        items: its examples, in the order of its ``support_``.
        called: what each is called in a sentence.
        skipped, repeated, notes: as in `FitSummary`.
    """
    known = classifier.estimator_ if isinstance(classifier, OpenSetClassifier) else classifier
    findings = findings_of(known)
    tried = int(findings.judged.sum())
    rejection = (
        rejection_of(classifier, findings) if isinstance(classifier, OpenSetClassifier) else None
    )
    told = advise(findings, rejection=rejection, called=called, of_table=is_of_table(items))
    return FitSummary(
        tuple(items),
        tuple(skipped),
        tuple(repeated),
        tuple(notes),
        tuple(advice.text for advice in told),
        int(findings.right.sum()) / tried if tried else float("nan"),
        None if rejection is None else accepted_share(rejection),
        tried,
    )


def accepted_share(rejection: Rejection) -> float | None:
    """The share of the examples, each left out, that lie above the threshold; None where nobody
    knows.
    """
    members = rejection.members
    if members is None or not len(members):
        return None
    return float(np.mean(members > rejection.threshold))
