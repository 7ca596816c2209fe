"""How vectors are made comparable before a head sees them: shifted and scaled by the examples."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean

Array = NDArray[np.float64]
SCALINGS = ("none", "centre", "standardise")
METRICS = ("cosine", "euclidean")


@dataclass(frozen=True)
class Scaling:
    """Vectors ``[n D]`` to vectors ``[n D]``.

    Args:
        unit_first: divide each vector by its length first.
        mean: what is subtracted then, ``[D]``; None = nothing.
        scale: what is divided by then, ``[D]``; None = nothing.
        unit_last: divide each vector by its length last.
    """

    unit_first: bool
    mean: Float[Array, " D"] | None
    scale: Float[Array, " D"] | None
    unit_last: bool

    def __call__(self, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
        """The scaled vectors."""
        if self.unit_first:
            x = unit(x)
        if self.mean is not None:
            x = x - self.mean
        if self.scale is not None:
            x = x / self.scale
        return unit(x) if self.unit_last else x


def fit_scaling(
    kind: str,
    metric: str,
    x: Float[Array, "N D"],
    y: Int[NDArray[np.int64], " N"],
    n: int,
    weight: Float[Array, " N"],
) -> Scaling:
    """The scaling by the mean and the deviation of examples, every class counting alike.

    Args:
        kind: "none"; "centre", the mean is subtracted; "standardise", every column is divided by
            its standard deviation besides.
        metric: "cosine", vectors have length 1 in the end (and before they are centred);
            "euclidean", they keep their length.
        x, y, weight: the examples, the class of each of ``n``, and their weights.

    Raises:
        ConfigError: for another kind or metric.
    """
    if kind not in SCALINGS:
        raise ConfigError(f"There is no scaling '{kind}'. {did_you_mean(kind, SCALINGS)}")
    if metric not in METRICS:
        raise ConfigError(f"There is no metric '{metric}'. {did_you_mean(metric, METRICS)}")
    is_cosine = metric == "cosine"
    if kind == "none":
        return Scaling(False, None, None, is_cosine)
    share = balanced(weight, y, n)
    share = share / share.sum()
    if kind == "centre":
        return Scaling(is_cosine, share @ (unit(x) if is_cosine else x), None, is_cosine)
    mean = share @ x
    scale = np.sqrt(share @ (x - mean) ** 2)
    # Of a constant column rounding leaves a deviation that is no deviation.
    constant = scale <= 1e-12 * np.abs(x).max(0)
    return Scaling(False, mean, np.where(constant, 1.0, scale), is_cosine)


def balanced(weight: Array, y: NDArray[np.int64], n: int) -> Array:
    """Weights that give each class the same sum, and all together the sum they had."""
    totals = np.bincount(y, weight, minlength=n)
    share = np.divide(
        weight.sum() / np.count_nonzero(totals), totals, out=np.zeros(n), where=totals > 0
    )
    return weight * share[y]


def unit(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Each row divided by its length; rows of zeros stay."""
    largest = np.abs(x).max(1, keepdims=True, initial=0.0)
    x = x / np.where(largest > 0, largest, 1.0)  # so that no square overflows or vanishes
    length = np.sqrt((x * x).sum(1, keepdims=True))
    return x / np.where(length > 0, length, 1.0)


def row_space(x: Float[Array, "N D"]) -> Float[Array, "D R"]:
    """Orthonormal axes that hold all rows: R = N where there are fewer rows than columns, else
    the columns themselves. What is linear in the vectors and has a penalty on the squared length
    of its coefficients is the same in these R numbers, and found sooner.
    """
    n, d = x.shape
    return np.linalg.qr(x.T)[0] if n < d else np.eye(d)
