"""Examples of one class that equal those of others."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from quickstudy.core.words import counted
from quickstudy.estimators.advice import listed
from quickstudy.estimators.classifier import FewShotClassifier
from quickstudy.estimators.findings import SAME
from quickstudy.estimators.scaling import Array


def copies_elsewhere(
    known: FewShotClassifier, label: Any, x: Float[Array, "n D"]
) -> list[tuple[int, Any]]:
    """Which vectors equal an example of another class than theirs, and of which class.

    Args:
        known: a fitted classifier.
        label: the class of the vectors.
        x: the vectors.
    """
    names = known.classes_[known.labels_]
    others = known.support_[names != label]
    if not len(others) or not len(x):
        return []
    within = SAME * float(np.sqrt((known.support_**2).sum(1).mean()))
    # [n N]
    apart = (x**2).sum(1)[:, None] - 2 * x @ others.T + (others**2).sum(1)
    nearest = apart.argmin(1)
    gaps = np.sqrt(((x - others[nearest]) ** 2).sum(1))
    of = names[names != label][nearest].tolist()
    return [(i, of[i]) for i in np.flatnonzero(gaps <= within).tolist()]


def said_of_copies(
    known: FewShotClassifier, label: Any, x: Float[Array, "n D"], called: Sequence[str]
) -> str:
    """What `copies_elsewhere` finds, in a sentence or two; empty where it is nothing.

    Args:
        known, label, x: as there.
        called: what each vector is called.
    """
    found = copies_elsewhere(known, label, x)
    if not found:
        return ""
    names = listed([f"{called[i]} ({other})" for i, other in found])
    what = "equals one" if len(found) == 1 else "equal ones"
    return (
        f"{counted(len(found), 'example')} of {label} {what} of another class: {names}. What lies "
        "in two classes teaches neither. Keep it where it belongs."
    )
