"""What the examples of a classifier say about what is wrong with them, and what to photograph next."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstudy.estimator.classifier import FewShotClassifier
from quickstudy.estimator.heads import Array, unit
from quickstudy.estimator.open_set import OpenSetClassifier
from quickstudy.functional.thresholds import needed

_ALIKE = 0.25  # of the median spread: closer together than this, photos look like one


@dataclass(frozen=True)
class Findings:
    """What leaving every example out once shows.

    Args:
        scores: of each example by the classifier without it, ``[N C]``; NaN where it is alone in its class.
        labels: the class of each.
        found: the class that it was taken for; −1 where it could not be judged.
        nearest: of each example the most similar one of the class it was taken for (or, where that is right, of the best other class).
        suspects: examples that probably carry a wrong label: the others of their class are told right, and they are taken for another.
        spread: of each class the mean of 1 − cosine between its examples; NaN for one example.
    """

    scores: Array
    labels: NDArray[np.int64]
    found: NDArray[np.int64]
    nearest: NDArray[np.int64]
    suspects: tuple[int, ...]
    spread: Array


def findings(model: FewShotClassifier) -> Findings:
    """Leave every example of a fitted classifier out once."""
    scores, labels, n = model.left_out_scores(), model.labels_, len(model.classes_)
    judged = np.isfinite(scores).all(1)
    found = np.where(judged, np.nan_to_num(scores, nan=-np.inf).argmax(1), -1)
    cosines = unit(model.support_) @ unit(model.support_).T
    np.fill_diagonal(cosines, -np.inf)
    rivals = np.where(judged[:, None], np.nan_to_num(scores, nan=-np.inf), -np.inf)
    rivals[np.arange(len(labels)), labels] = -np.inf
    other = np.where(np.equal(found, labels), rivals.argmax(1), found)
    nearest = np.where(np.equal.outer(other, labels), cosines, -np.inf).argmax(1)
    right, counts = np.bincount(labels[np.equal(found, labels)], minlength=n), np.bincount(labels, minlength=n)
    wrong = judged & (found != labels)
    suspects = tuple(int(i) for i in np.flatnonzero(wrong) if counts[labels[i]] >= 3 and right[labels[i]] == counts[labels[i]] - 1)
    spread = np.full(n, np.nan)
    for c in np.flatnonzero(counts > 1):
        own = cosines[np.ix_(labels == c, labels == c)]
        spread[c] = 1 - own[np.isfinite(own)].mean()
    return Findings(scores, labels, found, nearest, suspects, spread)


def next_photographs(model: FewShotClassifier | OpenSetClassifier, told: Findings, names: list[str]) -> tuple[str, ...]:
    """What to do next, the most useful first, in plain sentences.

    Args:
        model: the classifier.
        told: what `findings` says of it.
        names: what the examples are called, in the order of its support.
    """
    known = model.estimator_ if isinstance(model, OpenSetClassifier) else model
    out = [
        f"Look at {names[i]}: it is called {known.classes_[told.labels[i]]} but looks like {known.classes_[told.found[i]]}, and the other examples of its class are "
        "told right. Perhaps its label is wrong."
        for i in told.suspects
    ]
    out += known.diagnose().advice
    counts = np.bincount(told.labels, minlength=len(known.classes_))
    usual = np.nanmedian(told.spread) if np.isfinite(told.spread).any() else np.nan
    if (counts > 1).sum() >= 3 and usual > 0:
        for c in np.flatnonzero((counts >= 2) & (told.spread < _ALIKE * usual)):
            out.append(f"The {counts[c]} examples of {known.classes_[c]} are very much alike. Add one in another light, place or pose.")
    few = np.flatnonzero((counts > 1) & (counts < 5))
    if len(few) and not out:
        listed = ", ".join(str(known.classes_[c]) for c in few[:5]) + (" …" if len(few) > 5 else "")
        out.append(
            f"{len(few)} of {len(counts)} classes have fewer than five examples ({listed}). More of them would make the numbers here surer."
        )
    if isinstance(model, OpenSetClassifier) and model.rule_ != "cohort":
        n = len(known.classes_)
        out.append(
            f"The line to strangers comes from {n} classes that played the stranger in turn, so no false-accept rate below {100 / (n + 1):.1f} % can be promised. "
            f"For 1 % give a cohort of {needed(0.01)} things that belong to no class."
        )
    return tuple(out)
