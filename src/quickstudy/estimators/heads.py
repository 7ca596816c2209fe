"""From feature vectors and labels to scores of the classes: what a `FewShotClassifier` is made of.

All work in float64 on row-major arrays, so that a class computed alone equals the same class
computed among others, bit for bit.
"""

import abc
import copy
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from quickstudy.core.arrays import NDArray
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.predictor import Predictor
from quickstudy.core.types import Classes, Examples
from quickstudy.estimators.scaling import Array, fit_scaling, row_space, unit
from quickstudy.metrics.left_out import TURNS, left_out_rounds


class AbstractHead(abc.ABC):
    """Scores of ``C`` classes, ``[n C]``, higher = more likely, learned from vectors ``[N D]``,
    labels ``[N]`` and weights ``[N]``; every class has an example of some weight.
    """

    temperature: float = 1.0
    """What to divide the scores by before a softmax where the examples are too few to choose it."""
    turns: int = TURNS
    """In how many fits at most all examples are left out."""

    @property
    def is_separate(self) -> bool:
        """Whether the score of a class depends on no other class, so that classes come and go
        without a look at the others.
        """
        return False

    @abc.abstractmethod
    def fit(
        self,
        x: Float[Array, "N D"],
        y: Int[NDArray[np.int64], " N"],
        n: int,
        weight: Float[Array, " N"],
    ) -> Self:
        """Learn ``n`` classes; returns itself."""

    @abc.abstractmethod
    def scores(self, x: Float[Array, "n D"]) -> Float[Array, "n C"]:
        """The scores of the classes."""

    def add(self, c: int, x: Float[Array, "k D"], weight: Float[Array, " k"]) -> bool:
        """Learn one more class from its examples, before those that were ``c``, ``c + 1`` …

        Returns:
            False where nothing was learned, as the head has to be fitted anew.
        """
        return False

    def remove(self, c: int) -> bool:
        """Forget class ``c``.

        Returns:
            False where nothing was forgotten, as the head has to be fitted anew.
        """
        return False

    def left_out(
        self, x: Array, y: NDArray[np.int64], n: int, weight: Array
    ) -> Float[Array, "N C"]:
        """The scores of each example from a head fitted without it, with the same options; NaN
        where its class has no other example of some weight.

        One of every class is left out at a time (of classes of more than `turns` examples a part),
        see `quickstudy.metrics.left_out.left_out_rounds`.
        """
        out = np.full((len(x), n), np.nan)
        for left, head in self.without_some(x, y, n, weight):
            out[left] = head.scores(x[left])
        return out

    def fit_and_leave_out(
        self, x: Array, y: NDArray[np.int64], n: int, weight: Array
    ) -> Float[Array, "N C"]:
        """`fit`, and then `left_out`; quicker where choosing a penalty gives these scores too."""
        return self.fit(x, y, n, weight).left_out(x, y, n, weight)

    def without_some(
        self, x: Array, y: NDArray[np.int64], n: int, weight: Array, *, by_halves: bool = False
    ) -> Iterator[tuple[Bool[NDArray[np.bool_], " N"], Self]]:
        """Which examples are left out at a time, see
        `quickstudy.metrics.left_out.left_out_rounds`, and the head without them.
        """
        for left in left_out_rounds(y, n, weight, turns=self.turns, by_halves=by_halves):
            head = type(self)(**self.options())
            yield left, head.fit(x[~left], y[~left], n, weight[~left])

    def options(self) -> dict[str, Any]:
        """What another head is made with, to be fitted as this one was."""
        return {}


class PrototypeHead(AbstractHead):
    """The similarity to the class's (weighted) mean: the cosine of both, or minus the squared
    distance.

    Args:
        metric: "cosine" or "euclidean".
        scaling: see `fit_scaling`. With "none" a class comes or goes without a look at the others.
    """

    def __init__(self, *, metric: str = "cosine", scaling: str = "none") -> None:
        self.metric = metric
        self.scaling = scaling
        self.temperature = 0.1 if metric == "cosine" else 1.0

    @property
    def is_separate(self) -> bool:
        return self.scaling == "none"

    def options(self) -> dict[str, Any]:
        return {"metric": self.metric, "scaling": self.scaling}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Self:
        self.scaled = fit_scaling(self.scaling, self.metric, x, y, n, weight)
        x = self.scaled(x)
        self.means = np.stack([_mean(x[y == c], weight[y == c]) for c in range(n)])
        return self

    def scores(self, x: Array) -> Array:
        return self._compare(self.scaled(x), self.means)

    def add(self, c: int, x: Array, weight: Array) -> bool:
        if not self.is_separate:
            return False
        self.means = np.insert(self.means, c, _mean(self.scaled(x), weight), axis=0)
        return True

    def remove(self, c: int) -> bool:
        if not self.is_separate:
            return False
        self.means = np.delete(self.means, c, 0)
        return True

    def left_out(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Array:
        if not self.is_separate:
            return super().left_out(x, y, n, weight)
        x = fit_scaling("none", self.metric, x, y, n, weight)(x)
        weighted = x * weight[:, None]
        sums = np.stack([weighted[y == c].sum(0) for c in range(n)])
        totals = np.bincount(y, weight, minlength=n)
        out = np.full((len(x), n), np.nan)
        for left in left_out_rounds(y, n, weight, turns=self.turns):
            rest = sums.copy()
            np.subtract.at(rest, y[left], weighted[left])
            rest /= (totals - np.bincount(y[left], weight[left], minlength=n))[:, None]
            out[left] = self._compare(x[left], rest)
        return out

    def _compare(self, x: Array, means: Array) -> Array:
        if self.metric == "cosine":
            return x @ unit(means).T
        return -np.maximum((x * x).sum(1)[:, None] - 2 * x @ means.T + (means * means).sum(1), 0.0)


class CosineHead(AbstractHead):
    """A cosine classifier that starts at the class means and is fine-tuned by cross entropy (L-BFGS
    on the directions, the scale fixed).

    Args:
        scaling: see `fit_scaling`.
        steps: most iterations.
        scale: of the cosines in the softmax.
        decay: weight of |w − start|², the sum over the classes.
    """

    def __init__(
        self,
        *,
        scaling: str = "none",
        steps: int = 50,
        scale: float = 10.0,
        decay: float = 0.1,
    ) -> None:
        self.scaling = scaling
        self.steps = steps
        self.scale = scale
        self.decay = decay

    def options(self) -> dict[str, Any]:
        return {
            "scaling": self.scaling,
            "steps": self.steps,
            "scale": self.scale,
            "decay": self.decay,
        }

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Self:
        self.scaled = fit_scaling(self.scaling, "cosine", x, y, n, weight)
        x = self.scaled(x)
        # The directions stay in the space of the examples, whose axes are fewer.
        axes = row_space(x)
        x = x @ axes
        start = torch.from_numpy(unit(PrototypeHead().fit(x, y, n, weight).means))
        features, labels, weights = (
            torch.from_numpy(np.ascontiguousarray(a)) for a in (x, y, weight / weight.sum())
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
        self.directions = unit(w.detach().numpy() @ axes.T)
        return self

    def scores(self, x: Array) -> Array:
        return self.scale * self.scaled(x) @ self.directions.T


class LearnerHead(AbstractHead):
    """A learner of this library, meta-trained on vectors like these. Examples of weight 0 are
    left out; other weights are not used.

    Args:
        learner: the learner; its encoder takes vectors.
    """

    # A fit may take as long as encoding all examples does.
    turns = 10

    def __init__(self, *, learner: AbstractLearner[Any]) -> None:
        self.learner = learner

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A fit replaces the predictor and changes no weight, so copies share both.
        return copy.copy(self)

    def options(self) -> dict[str, Any]:
        return {"learner": self.learner}

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Self:
        x, y = x[weight > 0], y[weight > 0]
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


def _mean(x: Array, weight: Array) -> Array:
    """The weighted mean of one class's vectors."""
    return (x * weight[:, None]).sum(0) / weight.sum()
