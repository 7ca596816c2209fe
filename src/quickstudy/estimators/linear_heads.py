"""Heads that are linear in the vectors: ridge regression, logistic regression, and Gaussians with
one covariance. Each chooses its penalty by leaving examples out, where it is not given.
"""

from typing import Any, Self

import numpy as np
from scipy.special import logsumexp
from sklearn.model_selection import StratifiedKFold

from quickstudy.core.arrays import NDArray
from quickstudy.estimators.heads import AbstractHead
from quickstudy.estimators.logistic import LogisticModel, fit_logistic
from quickstudy.estimators.scaling import Array, balanced, fit_scaling

_PENALTIES = 10.0 ** np.arange(-4, 3.1, 0.5)
_INVERSE = {"cosine": (1.0, 10.0, 100.0), "euclidean": (0.01, 0.1, 1.0)}
_USUAL_INVERSE = {"cosine": 10.0, "euclidean": 0.1}
_SHRINKAGES = (0.02, 0.1, 0.3, 0.6, 0.9)
_USUAL_SHRINKAGE = 0.5
_FOLDS = 5


class RidgeHead(AbstractHead):
    """Ridge regression onto ±1 for each class; every class counts alike, however many examples it
    has.

    Args:
        alpha: the penalty, of the sum over the examples of squared errors; None = of 15 the one
            with the smallest squared error of examples left out one by one, which one
            decomposition gives for all (Rifkin and Lippert 2007, MIT-CSAIL-TR-2007-025). Where all
            classes have one example nothing can be left out, and the largest is taken: the scores
            rank then as those of prototypes do.
        scaling, metric: see `fit_scaling`.
    """

    temperature = 0.3

    def __init__(
        self, *, alpha: float | None = None, scaling: str = "centre", metric: str = "cosine"
    ) -> None:
        self.alpha = alpha
        self.scaling = scaling
        self.metric = metric

    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha_, "scaling": self.scaling, "metric": self.metric}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Self:
        self.scaled = fit_scaling(self.scaling, self.metric, x, y, n, weight)
        x = self.scaled(x)
        share = balanced(weight, y, n)
        targets = 2.0 * np.eye(n)[y] - 1
        mean, target_mean = (share @ x) / share.sum(), (share @ targets) / share.sum()
        root = np.sqrt(share)[:, None]
        left, sizes, right = np.linalg.svd((x - mean) * root, full_matrices=False)
        projected = left.T @ ((targets - target_mean) * root)  # [r C]
        squares = sizes**2
        if self.alpha is None:
            self.alpha_ = self._best(targets, target_mean, left, squares, projected, share, y)
        else:
            self.alpha_ = self.alpha
        inverse = np.divide(sizes, squares + self.alpha_, out=np.zeros_like(sizes), where=sizes > 0)
        self.coefficients = right.T @ (projected * inverse[:, None])  # [D C]
        self.offset = target_mean - mean @ self.coefficients
        return self

    def scores(self, x: Array) -> Array:
        return self.scaled(x) @ self.coefficients + self.offset

    @staticmethod
    def _best(
        targets: Array,
        target_mean: Array,
        left: Array,
        squares: Array,
        projected: Array,
        share: Array,
        y: NDArray[np.int64],
    ) -> float:
        usual = max(float(squares.sum()) / len(targets), 1e-300)
        if np.bincount(y[share > 0]).max() < 2:
            return float(_PENALTIES[-1]) * usual
        root = np.sqrt(np.where(share > 0, share, 1.0))[:, None]
        errors = []
        for alpha in _PENALTIES * usual:
            kept = squares / (squares + alpha)
            leverage = (left**2) @ kept + share / share.sum()
            residual = targets - target_mean - (left @ (projected * kept[:, None])) / root
            gap = residual / np.maximum(1 - leverage, 1e-12)[:, None]
            errors.append(float(share @ (gap**2).sum(1)))
        return float(_PENALTIES[int(np.argmin(errors))]) * usual


class LogisticHead(AbstractHead):
    """Multinomial logistic regression, every class counting alike; its scores are log
    probabilities.

    Args:
        c: the inverse of the penalty; None = of 3 the one with the smallest log loss in five-fold
            cross-validation (as many folds as the smallest class has examples, where these are
            fewer); where a class has one example, 10 for vectors of length 1 and 0.1 for others.
        scaling, metric: see `fit_scaling`.
    """

    def __init__(
        self, *, c: float | None = None, scaling: str = "centre", metric: str = "cosine"
    ) -> None:
        self.c = c
        self.scaling = scaling
        self.metric = metric

    def options(self) -> dict[str, Any]:
        return {"c": self.c_, "scaling": self.scaling, "metric": self.metric}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Self:
        self.n = n
        self.scaled = fit_scaling(self.scaling, self.metric, x, y, n, weight)
        self.c_ = self._best(x, y, n, weight) if self.c is None else self.c
        share = balanced(weight, y, n)
        self.model = fit_logistic(self.scaled(x), y, share, self.c_) if n > 1 else None
        return self

    def scores(self, x: Array) -> Array:
        if self.model is None:
            return np.zeros((len(x), 1))
        return self._scores(self.model, self.scaled(x))

    def _best(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> float:
        folds = min(_FOLDS, int(np.bincount(y[weight > 0], minlength=n).min()))
        if n < 2 or folds < 2:
            return _USUAL_INVERSE[self.metric]
        share = balanced(weight, y, n)
        tried = _INVERSE[self.metric]
        losses = np.zeros(len(tried))
        for train, test in StratifiedKFold(folds).split(x, y):
            if not (np.bincount(y[train], weight[train], minlength=n) > 0).all():
                continue
            scaled = fit_scaling(self.scaling, self.metric, x[train], y[train], n, weight[train])
            seen, unseen = scaled(x[train]), scaled(x[test])
            own = balanced(weight[train], y[train], n)
            for i, c in enumerate(tried):
                scores = self._scores(fit_logistic(seen, y[train], own, c), unseen)
                losses[i] -= share[test] @ scores[np.arange(len(test)), y[test]]
        return tried[int(losses.argmin())]

    def _scores(self, model: LogisticModel, x: Array) -> Array:
        out = np.full((len(x), self.n), -np.inf)
        out[:, model.classes] = model.log_probabilities(x)
        return out


class GaussianHead(AbstractHead):
    """A Gaussian for each class, all with the covariance within the classes, shrunken towards a
    multiple of the identity; the scores are log densities less what the classes have in common.

    With vectors of length 1 it is FeCAM with one covariance (Goswami et al. 2023,
    arXiv:2309.14062).

    Args:
        shrinkage: between 0 (the covariance as it is) and 1 (a multiple of the identity); None = of
            5 the one with the smallest log loss of examples left out; ½ where no class has two
            examples.
        scaling, metric: see `fit_scaling`.
        variance: what the covariance is, in every direction, where no class has two examples to
            show it; None = the shrinkage. A head without some of the examples gets what the
            covariance of all comes to.
    """

    def __init__(
        self,
        *,
        shrinkage: float | None = None,
        scaling: str = "centre",
        metric: str = "cosine",
        variance: float | None = None,
    ) -> None:
        self.shrinkage = shrinkage
        self.scaling = scaling
        self.metric = metric
        self.variance = self.variance_ = variance

    def options(self) -> dict[str, Any]:
        chosen = self.shrinkage if self.shrinkage is not None else self.shrinkage_
        return {
            "shrinkage": chosen,
            "scaling": self.scaling,
            "metric": self.metric,
            "variance": self.variance_,
        }

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Self:
        chosen = self._best(x, y, n, weight)[0] if self.shrinkage is None else self.shrinkage
        return self._fit_with(chosen, x, y, n, weight)

    def fit_and_leave_out(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Array:
        if self.shrinkage is not None:
            return super().fit_and_leave_out(x, y, n, weight)
        chosen, left_out = self._best(x, y, n, weight)
        self._fit_with(chosen, x, y, n, weight)
        return self.left_out(x, y, n, weight) if left_out is None else left_out

    def _fit_with(
        self, shrinkage: float, x: Array, y: NDArray[np.int64], n: int, weight: Array
    ) -> Self:
        self.shrinkage_ = shrinkage
        self.scaled = fit_scaling(self.scaling, self.metric, x, y, n, weight)
        x = self.scaled(x)
        share = balanced(weight, y, n)
        means = _class_means(x, y, n, share)
        self.centre = means.mean(0)
        self.means = means - self.centre
        # Of few examples the spread around their own mean is too small; undone, so that scores of
        # heads with an example less are on the same scale.
        has_pair = np.bincount(y[weight > 0], minlength=n).max() > 1
        kept = _kept_spread(y, n, share) if has_pair else np.inf
        within = (x - means[y]) * np.sqrt(share / share.sum() / kept)[:, None]
        _, sizes, right = np.linalg.svd(within, full_matrices=False)
        self.variances = sizes**2
        self.axes = right.T  # [D r]
        return self._shrunken(shrinkage)

    def _shrunken(self, shrinkage: float) -> Self:
        """Of the covariance (1 − g) V S² V' + base I, the inverse is (I − V k V') / base."""
        usual = float(self.variances.sum()) / len(self.centre)
        spread = (1 - shrinkage) * self.variances
        if usual > 0:
            self.base = shrinkage * usual
            # Of as many directions as are shown, and of the others.
            precision = (1 / (spread + self.base)).sum()
            precision += (len(self.centre) - len(spread)) / self.base
            self.variance_ = float(len(self.centre) / precision)
        else:
            self.variance_ = self.variance
            self.base = shrinkage if self.variance is None else self.variance
        self.directions = self.axes * np.sqrt(spread / (spread + self.base))
        self.projected = self.means @ self.directions  # [C r]
        lengths = (self.means**2).sum(1) - (self.projected**2).sum(1)
        self.constant = lengths / self.base / 2
        return self

    def scores(self, x: Array) -> Array:
        gap = self.scaled(x) - self.centre
        inner = gap @ self.means.T - (gap @ self.directions) @ self.projected.T
        return inner / self.base - self.constant

    def _best(
        self, x: Array, y: NDArray[np.int64], n: int, weight: Array
    ) -> tuple[float, Array | None]:
        """The shrinkage, and the scores of the examples left out with it; None where they say too
        little.
        """
        most = int(np.bincount(y[weight > 0], minlength=n).max())
        if n < 2 or most < 2:
            return _USUAL_SHRINKAGE, None
        scores = np.full((len(_SHRINKAGES), len(x), n), np.nan)
        usual = type(self)(shrinkage=_USUAL_SHRINKAGE, scaling=self.scaling, metric=self.metric)
        # Without one of each class, no two of two would show a covariance.
        for left, head in usual.without_some(x, y, n, weight, by_halves=most == 2):
            for i, shrinkage in enumerate(_SHRINKAGES):
                scores[i, left] = head._shrunken(shrinkage).scores(x[left])
        known = np.isfinite(scores[0]).all(1)
        losses = [losses_at_best_temperature(s[known], y[known]).mean() for s in scores]
        best = int(np.argmin(losses))
        return _SHRINKAGES[best], None if most == 2 else scores[best]


def losses_at_best_temperature(scores: Array, y: NDArray[np.int64]) -> Array:
    """The log loss of each row ``[N]`` of scores ``[N C]``, by the softmax at that of 13
    temperatures at which their mean is smallest.
    """
    gap = scores - scores[np.arange(len(y)), y][:, None]  # of each class above the right one
    usual = float(np.abs(gap).mean()) or 1.0
    temperatures = 10.0 ** np.arange(-3, 3.1, 0.5)
    losses: list[Any] = [logsumexp(gap / (usual * t), axis=1) for t in temperatures]
    return min(losses, key=lambda loss: float(loss.mean()))


def _kept_spread(y: NDArray[np.int64], n: int, share: Array) -> float:
    """Which part of the variance within classes is left around the means of the examples: with k
    of each class 1 − 1/k.
    """
    totals = np.bincount(y, share, minlength=n)
    squares = np.bincount(y, share**2, minlength=n)
    return float((totals - squares / totals).sum() / totals.sum())


def _class_means(x: Array, y: NDArray[np.int64], n: int, share: Array) -> Array:
    return np.stack([share[y == c] @ x[y == c] / share[y == c].sum() for c in range(n)])
