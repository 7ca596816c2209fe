"""Means with honest intervals."""

import math
from collections.abc import Sequence

import numpy as np

from quickstudy.core.arrays import NDArray


def mean_ci95(values: Sequence[float] | NDArray[np.floating]) -> tuple[float, float]:
    """Mean and half-width of its 95 % interval: t₀.₉₇₅,ₙ₋₁ · s / √n, with s the sample standard
    deviation (ddof 1).

    The interval covers the sampling of tasks, not of classes, images or training seeds.

    >>> mean, half = mean_ci95([0.0, 1.0, 0.0, 1.0])
    >>> round(mean, 3), round(half, 3)
    (0.5, 0.919)
    """
    from scipy.stats import t

    v = np.asarray(values, dtype=np.float64)
    if v.size < 2:
        return float(v.mean()) if v.size else math.nan, math.nan
    return float(v.mean()), float(t.ppf(0.975, v.size - 1) * v.std(ddof=1) / math.sqrt(v.size))


def exact_interval(k: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of which k of n were counted (Clopper and Pearson 1934).

    >>> [round(x, 2) for x in exact_interval(14, 20)]
    [0.46, 0.88]
    """
    from scipy.stats import binomtest

    low, high = binomtest(k, n).proportion_ci(0.95, method="exact")
    return float(low), float(high)
