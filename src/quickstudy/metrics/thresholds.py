"""Where the threshold between members and unknowns lies."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.words import percent


def needed(rate: float, *, left_out: bool = False) -> int:
    """How many unknowns a wanted false-accept rate takes.

    Args:
        rate: that is wanted.
        left_out: whether they are members who are left out one by one, see `conformal_threshold`.

    >>> needed(0.01), needed(0.05), needed(0.01, left_out=True)
    (99, 19, 199)
    """
    return math.ceil((2 if left_out else 1) / rate - 1e-9) - 1


def conformal_threshold(
    unknowns: ArrayLike,
    rate: float,
    *,
    groups: ArrayLike | None = None,
    left_out: bool = False,
) -> float:
    """The smallest threshold that a new unknown exceeds with a probability of at most ``rate``,
    whatever the distribution of the scores.

    Of n scores it is the ⌈(n + 1)(1 − rate)⌉-th smallest; an unknown is accepted by mistake where
    its score is above. Valid when the new unknown and those of the sample are exchangeable.
    Several scores of one unknown are not: they resemble each other. Given whose each is, every
        score weighs 1 / ((G + 1) · scores of its unknown), of G unknowns, and the threshold is
        the smallest score up to which the weights add to
    1 − rate. With one score each the two are the same.

    Args:
        unknowns: the scores that unknowns got, ``[n]``, by the very rule that will decide.
        rate: the wanted false-accept rate, between 0 and 1.
        groups: whose each score is, ``[n]``; None where every score is of another unknown.
        left_out: whether the unknowns are members, each scored against all others. Somebody new is
            compared with one member more, and whoever looks like that one would have raised its
            score too: so an unknown more is counted among those who get in. Without that, ten
            members who are asked for 10 % let in up to 18 %.

    Raises:
        ConfigError: for a rate outside of (0, 1), a score that is not a number, or too few
            unknowns for the rate.

    >>> conformal_threshold([0.1, 0.5, 0.2, 0.4], 0.25)
    0.5
    >>> conformal_threshold(
    ...     [0.1, 0.5, 0.2, 0.4, 0.9, 0.8], 0.25, groups=["a", "b", "c", "d", "d", "d"]
    ... )
    0.9

    Source: Vovk, Gammerman, Shafer 2005, Algorithmic Learning in a Random World, section 2.2; with
        groups Lee, Barber, Willett 2023,
    arXiv:2306.06342, hierarchical conformal prediction.
    """
    scores: Float[NDArray[np.float64], " n"] = np.asarray(unknowns, dtype=np.float64).ravel()
    owners = np.arange(len(scores)) if groups is None else np.asarray(groups).ravel()
    if not 0 < rate < 1:
        raise ConfigError(f"The false-accept rate must lie between 0 and 1, got {rate}.")
    if len(owners) != len(scores):
        raise ConfigError(
            f"There are {len(scores)} scores of unknowns but {len(owners)} groups. Say of each "
            "score whose it is."
        )
    if not np.isfinite(scores).all():
        raise ConfigError("A score of an unknown is not a finite number. Check the features.")
    _, of, counts = np.unique(owners, return_inverse=True, return_counts=True)
    least = needed(rate, left_out=left_out)
    smallest = (2 if left_out else 1) / (len(counts) + 1)
    if len(counts) < least:
        raise ConfigError(
            f"A false-accept rate of {100 * rate:g} % takes the scores of at least {least} "
            f"unknowns, but there are {len(counts)}. "
            f"Give a cohort of more, or ask for at least {percent(smallest, 1, up=True)}."
        )
    if left_out:
        rate -= 1 / (len(counts) + 1)
    order = np.argsort(scores, kind="stable")
    mass = np.cumsum(1 / counts[of[order]]) / (len(counts) + 1)
    return float(scores[order[min(int(np.searchsorted(mass, 1 - rate - 1e-9)), len(scores) - 1)]])
