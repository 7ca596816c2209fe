"""What a fitted model says of one item; without torch, as `quickstudy.runtime` says the same."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prediction:
    """What a model says of one item.

    Args:
        item: a path, a text, or the number of a row, from 1.
        label: the class, or the label for unknowns; None where there is an error.
        probability: of the nearest class among the known ones, given that it is one of them.
        score: the membership score, higher = more like a member; of a model that never says
            unknown, the score of the nearest class.
        threshold: what the score had to exceed; None of a model that never says unknown, which is
            not calibrated.
        certain: whether no person needs to look; None of a model that is not calibrated.
        nearest: the nearest class, where the answer is unknown.
        error: why there is no answer; empty where there is one.
        table: the file of a row, where there are several.
        classes: the prediction set, the most likely class first; empty where none was asked for.
    """

    item: Any
    label: Any = None
    probability: float | None = None
    score: float | None = None
    threshold: float | None = None
    certain: bool | None = None
    nearest: Any = None
    error: str = ""
    table: str = ""
    classes: tuple[Any, ...] = ()
