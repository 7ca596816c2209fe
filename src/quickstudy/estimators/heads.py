"""From feature vectors and labels to scores of the classes: what a `FewShotClassifier` is made of.

All work in float64 on row-major arrays, so that a class computed alone equals the same class
computed among others, bit for bit.
"""

import abc
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression, Ridge

from quickstudy.core.arrays import NDArray
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.predictor import Predictor
from quickstudy.core.types import Classes, Examples

Array = NDArray[np.float64]
_ONE_BY_ONE, _TURNS = 100, 20


class AbstractHead(abc.ABC):
    """Scores of ``C`` classes, ``[n C]``, higher = more likely, learned from vectors ``[N D]``,
    labels ``[N]`` and weights ``[N]``.
    """

    temperature: float = 1.0
    """What to divide the scores by before a softmax where the examples are too few to choose it."""

    @abc.abstractmethod
    def fit(
        self,
        x: Float[Array, "N D"],
        y: Int[NDArray[np.int64], " N"],
        n: int,
        weight: Float[Array, " N"],
    ) -> "AbstractHead":
        """Learn ``n`` classes; returns itself."""

    @abc.abstractmethod
    def scores(self, x: Float[Array, "n D"]) -> Float[Array, "n C"]:
        """The scores of the classes."""

    def left_out(
        self, x: Array, y: NDArray[np.int64], n: int, weight: Array
    ) -> Float[Array, "N C"]:
        """The scores of each example from a head fitted without it; NaN where it is alone in its
        class.

        Of more than 100 examples one of every class is left out at a time (of classes with more
        than 20 a twentieth): a fit for each would take hours.
        """
        out = np.full((len(x), n), np.nan)
        several = np.bincount(y, minlength=n)[y] > 1
        turn = np.arange(len(x)) if len(x) <= _ONE_BY_ONE else _place_in_class(y, n) % _TURNS
        for t in np.unique(turn[several]):
            left = several & (turn == t)
            out[left] = (
                type(self)(**self.options())
                .fit(x[~left], y[~left], n, weight[~left])
                .scores(x[left])
            )
        return out

    def options(self) -> dict[str, Any]:
        """What another of its kind is made with."""
        return {}


class PrototypeHead(AbstractHead):
    """The similarity to the class's (weighted) mean: the cosine of both, or minus the squared
    distance.

    Args:
        metric: "cosine" or "euclidean".
    """

    def __init__(self, *, metric: str = "cosine") -> None:
        self.metric, self.temperature = metric, 0.1 if metric == "cosine" else 1.0

    def options(self) -> dict[str, Any]:
        return {"metric": self.metric}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> "PrototypeHead":
        x = self.prepared(x)
        self.means = np.stack([self.mean(x[y == c], weight[y == c]) for c in range(n)])
        return self

    def prepared(self, x: Array) -> Array:
        """Unit vectors for the cosine (zeros stay zeros)."""
        return unit(x) if self.metric == "cosine" else x

    @staticmethod
    def mean(x: Array, weight: Array) -> Array:
        """The weighted mean of one class's prepared vectors."""
        return (x * weight[:, None]).sum(0) / weight.sum()

    def scores(self, x: Array) -> Array:
        return self._compare(self.prepared(x), self.means)

    def _compare(self, x: Array, means: Array) -> Array:
        if self.metric == "cosine":
            return x @ unit(means).T
        return -np.maximum((x * x).sum(1)[:, None] - 2 * x @ means.T + (means * means).sum(1), 0.0)

    def left_out(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Array:
        x = self.prepared(x)
        sums = np.stack([(x[y == c] * weight[y == c][:, None]).sum(0) for c in range(n)])
        totals = np.bincount(y, weight, minlength=n)
        out = self._compare(x, sums / totals[:, None])
        rest = totals[y] - weight
        alone = (np.bincount(y, minlength=n)[y] < 2) | (rest <= 0)
        without = (sums[y] - x * weight[:, None]) / np.where(alone, 1.0, rest)[:, None]
        own = (
            (x * unit(without)).sum(1) if self.metric == "cosine" else -((x - without) ** 2).sum(1)
        )
        out[np.arange(len(x)), y] = own
        out[alone] = np.nan
        return out


class RidgeHead(AbstractHead):
    """Ridge regression onto ±1 for each class, by scikit-learn; every class counts alike, however
    many examples it has.

    Args:
        alpha: the penalty; features are unit vectors.
    """

    temperature = 0.3

    def __init__(self, *, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> "RidgeHead":
        targets = 2.0 * np.eye(n)[y] - 1
        self.model = Ridge(alpha=self.alpha).fit(
            unit(x), targets, sample_weight=_balanced(weight, y, n)
        )
        return self

    def scores(self, x: Array) -> Array:
        return self.model.predict(unit(x)).reshape(len(x), -1)


class LogisticHead(AbstractHead):
    """Logistic regression on unit vectors, by scikit-learn, every class counting alike; its scores
    are log probabilities.

    Args:
        c: the inverse of the penalty.
    """

    def __init__(self, *, c: float = 1.0) -> None:
        self.c = c

    def options(self) -> dict[str, Any]:
        return {"c": self.c}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> "LogisticHead":
        self.n = n
        self.model = (
            LogisticRegression(C=self.c, max_iter=1000).fit(
                unit(x), y, sample_weight=_balanced(weight, y, n)
            )
            if n > 1
            else None
        )
        return self

    def scores(self, x: Array) -> Array:
        if self.model is None:
            return np.zeros((len(x), 1))
        out = np.full((len(x), self.n), -np.inf)
        out[:, self.model.classes_] = self.model.predict_log_proba(unit(x))
        return out


class CosineHead(AbstractHead):
    """A cosine classifier that starts at the class means and is fine-tuned by cross entropy (L-BFGS
    on the directions, the scale fixed).

    Args:
        steps: most iterations.
        scale: of the cosines in the softmax.
        decay: weight of |w − start|², the sum over the classes.
    """

    def __init__(self, *, steps: int = 50, scale: float = 10.0, decay: float = 0.1) -> None:
        self.steps, self.scale, self.decay, self.temperature = steps, scale, decay, 1.0

    def options(self) -> dict[str, Any]:
        return {"steps": self.steps, "scale": self.scale, "decay": self.decay}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> "CosineHead":
        start = torch.from_numpy(unit(PrototypeHead().fit(x, y, n, weight).means))
        features, labels, weights = (
            torch.from_numpy(np.ascontiguousarray(a)) for a in (unit(x), y, weight / weight.sum())
        )
        w = start.clone().requires_grad_()
        optimiser = torch.optim.LBFGS([w], max_iter=self.steps, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimiser.zero_grad()
            logits = self.scale * features @ torch.nn.functional.normalize(w, dim=1).T
            loss = (
                torch.nn.functional.cross_entropy(logits, labels, reduction="none") * weights
            ).sum()
            loss = loss + self.decay * (w - start).square().sum()
            loss.backward()
            return loss

        optimiser.step(closure)
        self.directions = unit(w.detach().numpy())
        return self

    def scores(self, x: Array) -> Array:
        return self.scale * unit(x) @ self.directions.T


class LearnerHead(AbstractHead):
    """A learner of this library, meta-trained on vectors like these. It has no weights for its
    examples.

    Args:
        learner: the learner; its encoder takes vectors.
    """

    def __init__(self, *, learner: AbstractLearner[Any]) -> None:
        self.learner = learner

    def options(self) -> dict[str, Any]:
        return {"learner": self.learner}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> "LearnerHead":
        support = Examples.single(self._tensor(x), torch.from_numpy(y))
        self.predictor: Predictor = self.learner.fit(support, Classes(n))
        return self

    def scores(self, x: Array) -> Array:
        with torch.no_grad():
            return self.predictor(self._tensor(x)).double().numpy()

    def _tensor(self, x: Array) -> torch.Tensor:
        parameters = list(self.learner.parameters())
        return torch.from_numpy(np.ascontiguousarray(x)).to(
            parameters[0].dtype if parameters else torch.float32
        )


def _balanced(weight: Array, y: NDArray[np.int64], n: int) -> Array:
    """Weights that give each class the same sum, and all together the sum they had."""
    totals = np.bincount(y, weight, minlength=n)
    share = np.divide(
        weight.sum() / np.count_nonzero(totals), totals, out=np.zeros(n), where=totals > 0
    )
    return weight * share[y]


def _place_in_class(y: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many examples of its class stand before each."""
    counts = np.bincount(y, minlength=n)
    place = np.empty(len(y), np.int64)
    place[np.argsort(y, kind="stable")] = np.arange(len(y)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    return place


def unit(x: Float[Array, "N D"]) -> Float[Array, "N D"]:
    """Each row divided by its length; rows of zeros stay."""
    length = np.sqrt((x * x).sum(1, keepdims=True))
    return x / np.where(length > 0, length, 1.0)
