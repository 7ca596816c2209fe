"""Multinomial logistic regression of a few examples: the optimum that scikit-learn's
`LogisticRegression` finds, without its checks of the input, which take longer than such a fit.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize

from quickstudy.core.arrays import NDArray
from quickstudy.estimators.scaling import Array, row_space

# As scikit-learn stops.
_STOP = {"maxiter": 1000, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(np.float64).eps}


@dataclass(frozen=True)
class LogisticModel:
    """Log probabilities that are linear in the vectors, before the softmax.

    Args:
        classes: the ``C`` classes that had examples, sorted.
        weights, offset: of each.
    """

    classes: Int[NDArray[np.int64], " C"]
    weights: Float[Array, "D C"]
    offset: Float[Array, " C"]

    def log_probabilities(self, x: Float[Array, "n D"]) -> Float[Array, "n C"]:
        """Of each vector, by class."""
        return _log_softmax(x @ self.weights + self.offset)


def fit_logistic(
    x: Float[Array, "N D"],
    y: Int[NDArray[np.int64], " N"],
    share: Float[Array, " N"],
    c: float,
) -> LogisticModel:
    """The smallest Σ share · log loss + |weights|² / 2c, by L-BFGS from nothing; of two classes the
    penalty is that of the difference of their weights, as scikit-learn has it.

    Args:
        x, y, share: the vectors, their classes and what each of them counts.
        c: the inverse of the penalty.
    """
    classes, y = np.unique(y, return_inverse=True)
    axes = row_space(x)  # the weights stay in it
    x = x @ axes
    n, d = x.shape
    share = share / (total := float(share.sum()))
    penalty = (2 if len(classes) == 2 else 1) / (c * total)
    targets = np.eye(len(classes))[y]

    def loss(flat: Array) -> tuple[float, Array]:
        both = flat.reshape(d + 1, -1)
        weights, offset = both[:-1], both[-1]
        logs = _log_softmax(x @ weights + offset)
        gap = (np.exp(logs) - targets) * share[:, None]  # [N C]
        slope = np.concatenate((x.T @ gap + penalty * weights, gap.sum(0, keepdims=True)))
        value = penalty * (weights**2).sum() / 2 - share @ logs[np.arange(n), y]
        return float(value), slope.ravel()

    start = np.zeros((d + 1) * len(classes))
    both = minimize(loss, start, jac=True, method="L-BFGS-B", options=_STOP).x.reshape(d + 1, -1)
    return LogisticModel(classes, axes @ both[:-1], both[-1])


def _log_softmax(x: Array) -> Array:
    """Over the last of two axes; scipy's takes three times as long for so few numbers."""
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))
