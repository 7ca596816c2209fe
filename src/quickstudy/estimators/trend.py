"""A linear trend, and what each row deviates from the trend of the others."""

from dataclasses import dataclass

import numpy as np

from quickstudy.core.arrays import NDArray

Array = NDArray[np.float64]

_PENALTIES = (*np.logspace(-3, 5, 17).tolist(), np.inf)
_BEYOND = 0.5
"""How far a trend goes on beyond a column's smallest and largest value, as a part of their
distance. *Measured* on the three tables of numbers for validation, 20 draws, mean R² at 20, 50 and
500 rows: .506, .605, .631; without an end .467, .604, .631, with 0 .505, .591, .628.
"""


@dataclass(frozen=True)
class LinearTrend:
    """A ridge regression on standardised columns; missing values count as the column's mean, and
    values far outside what a column has shown as the last ones that are not far.

    Args:
        mean, scale: of the columns, ``[F]``.
        low, high: how far a trend is believed, ``[F]``, of standardised columns.
        weights: per standardised column.
        constant: the mean of the numbers.
        penalty: the one with the smallest error of leaving one out; infinite = no trend.
    """

    mean: Array
    scale: Array
    low: Array
    high: Array
    weights: Array
    constant: float
    penalty: float

    def predict(self, x: Array) -> Array:
        """The trend at rows ``[n F]``."""
        z = np.clip(np.nan_to_num((x - self.mean) / self.scale), self.low, self.high)
        return self.constant + z @ self.weights


def linear_trend(x: Array, y: Array) -> tuple[LinearTrend, Array]:
    """The trend of rows ``[N F]`` and numbers ``[N]``, and each number's deviation from the trend
    that is fitted without its row.

    The deviations have a closed form, (yᵢ − ŷᵢ) / (1 − Hᵢᵢ), H the matrix that makes ŷ of y. Means
    and scales of the columns are those of all rows.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> trend, deviations = linear_trend(x, 2 * x[:, 0] + 1)
        >>> trend.predict(np.array([[4.0], [10.0]])).round(1).tolist()  # it ends at 4.5
        [9.0, 10.0]
    """
    n = len(x)
    known = ~np.isnan(x)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, x, 0).sum(0) / count
    centred = np.where(known, x - mean, 0)
    scale = np.sqrt((centred**2).sum(0) / count)
    scale = np.where(scale > 1e-9 * (1 + np.abs(mean)), scale, 1.0)
    z = centred / scale
    beyond = _BEYOND * np.ptp(z, axis=0)
    middle = z.mean(0)
    u, s, vt = np.linalg.svd(z - middle, full_matrices=False)
    constant = float(y.mean())
    projected = u.T @ (y - constant)
    best: tuple[float, float, Array, Array] | None = None
    for penalty in _PENALTIES:
        shrink = s**2 / (s**2 + penalty) if np.isfinite(penalty) else 0 * s
        leverage = 1 / n + (u**2) @ shrink
        left_out = (y - constant - u @ (shrink * projected)) / np.maximum(1 - leverage, 1e-6)
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            inverse = np.where(s > 0, shrink / np.where(s > 0, s, 1), 0)
            best = error, penalty, vt.T @ (inverse * projected), left_out
    assert best is not None
    _, penalty, weights, deviations = best
    constant -= float(middle @ weights)
    return LinearTrend(
        mean, scale, z.min(0) - beyond, z.max(0) + beyond, weights, constant, float(penalty)
    ), deviations
