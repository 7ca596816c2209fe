"""Where to draw the line between those who belong and strangers."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from quickstudy.core.errors import ConfigError


def needed(rate: float) -> int:
    """How many scores of strangers a wanted false-accept rate takes.

    >>> needed(0.01), needed(0.05)
    (99, 19)
    """
    return math.ceil(1 / rate - 1e-9) - 1


def conformal_threshold(strangers: ArrayLike, rate: float) -> float:
    """The smallest threshold that a new stranger exceeds with a probability of at most ``rate``, whatever the distribution of the scores.

    It is the ⌈(n + 1)(1 − rate)⌉-th smallest of the n scores; a stranger is accepted by mistake where its score is above. Valid when the
    new stranger and those of the sample are exchangeable.

    Args:
        strangers: the scores that strangers got, ``[n]``, by the very rule that will decide.
        rate: the wanted false-accept rate, between 0 and 1.

    Raises:
        ConfigError: for a rate outside of (0, 1), a score that is not a number, or too few scores for the rate.

    >>> conformal_threshold([0.1, 0.5, 0.2, 0.4], 0.25)
    0.5

    Source: Vovk, Gammerman, Shafer 2005, Algorithmic Learning in a Random World, section 2.2.
    """
    scores: Float[NDArray[np.float64], " n"] = np.sort(np.asarray(strangers, dtype=np.float64).ravel())
    if not 0 < rate < 1:
        raise ConfigError(f"The false-accept rate must lie between 0 and 1, got {rate}.")
    if not np.isfinite(scores).all():
        raise ConfigError("A score of a stranger is not a finite number. Check the features.")
    if len(scores) < needed(rate):
        raise ConfigError(
            f"A false-accept rate of {100 * rate:g} % takes the scores of at least {needed(rate)} strangers, but there are {len(scores)}. "
            f"Give a cohort of more, or ask for at least {100 / (len(scores) + 1):.1f} %."
        )
    return float(scores[min(math.ceil((len(scores) + 1) * (1 - rate) - 1e-9), len(scores)) - 1])
