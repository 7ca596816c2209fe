"""Whether a cohort, things that belong to no class, holds some that do."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from quickstudy.core.arrays import NDArray
from quickstudy.estimators.heads import PrototypeHead
from quickstudy.estimators.scaling import Array, unit

_SAME = 1e-10  # squared distance of unit vectors, up to which they are the same
_CHANCE = 0.001


@dataclass(frozen=True)
class CohortOverlap:
    """Members of the cohort that resemble a class as its own examples do.

    Args:
        rows: of the cohort.
        labels: the class that each resembles.
        n_identical: how many of them equal an example of the class.
    """

    rows: tuple[int, ...]
    labels: tuple[Any, ...]
    n_identical: int

    def __str__(self) -> str:
        same = f" ({self.n_identical} equal an example)" if self.n_identical else ""
        n = len(self.rows)
        one = f"1 member of the cohort resembles a class as its own examples do{same}"
        many = f"{n} members of the cohort resemble a class as its own examples do{same}"
        return (
            f"{one if n == 1 else many}: the first is row {self.rows[0]}, which resembles "
            f"{self.labels[0]!r}. Where what belongs to a class lies in the cohort, the threshold "
            "is too high, and much that is known is called unknown. Take it out of the cohort, and "
            "fit again."
        )


def find_overlap(
    cohort: Float[Array, "n D"],
    groups: NDArray[Any] | None,
    x: Float[Array, "N D"],
    y: Int[NDArray[np.int64], " N"],
    classes: NDArray[Any],
    weight: Float[Array, " N"],
) -> CohortOverlap | None:
    """The members of a cohort that are probably of a class; None where there is no sign of any.

    Equal vectors are a sign. So is a cosine to the nearest class mean that only half of the
    examples have (each to the mean of the others of its class), if it is above the largest, m,
    that an example of a class that is left out has. Of those who belong to no class a share of at
    most 2 / (n + 1) is above m, see `quickstudy.metrics.thresholds.conformal_threshold`, and fewer
    above a line over it: the tail is taken to be exponential, as flat as the upper half of those
    cosines. They are reported where there are more than chance explains; a few among many are not
    noticed.

    Args:
        cohort: the vectors of the cohort.
        groups: whose each is; None = each of another.
        x, y, weight: the examples, the place of each one's class in ``classes``, their weights.
        classes: the classes.
    """
    from scipy.stats import binom

    n = len(classes)
    head = PrototypeHead().fit(x, y, n, weight)
    scores = head.scores(cohort)
    nearest = scores.argmax(1)
    gap = unit(x) @ unit(cohort).T  # [N n]
    identical = 2 - 2 * gap.max(0) <= _SAME
    nearest[identical] = y[gap.argmax(0)][identical]
    suspect = identical.copy()
    own = head.left_out(x, y, n, weight)[np.arange(len(x)), y]
    if n > 1 and np.isfinite(own).any():
        others = head.scores(x)
        others[np.arange(len(x)), y] = -np.inf
        left_out = others.max(1)
        most = float(left_out.max())
        line = max(most, float(np.nanmedian(own)))
        middle = float(np.median(left_out))
        flat = max(float((left_out[left_out >= middle] - middle).mean()), 1e-12)
        chance = min(1.0, 2 / (n + 1)) * float(np.exp((most - line) / flat))
        above = scores.max(1) > line
        owners = np.arange(len(cohort)) if groups is None else groups
        n_above, n_groups = len(np.unique(owners[above])), len(np.unique(owners))
        if n_above > binom.ppf(1 - _CHANCE, n_groups, chance):
            suspect |= above
    rows = np.flatnonzero(suspect)
    if not len(rows):
        return None
    labels = tuple(classes[nearest[rows]].tolist())
    return CohortOverlap(tuple(rows.tolist()), labels, int(identical.sum()))
