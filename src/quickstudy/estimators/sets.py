"""Prediction sets: so many classes that the right one is among them with the wanted probability.

Conformal prediction (Vovk, Gammerman, Shafer 2005). A class belongs to the set where the vector
conforms to it at least as well as a share α of examples conform to their own class. How well a
vector conforms to a class is the log of the class's probability by a head that has not seen the
vector: the classifier itself for calibration examples (split conformal), else heads fitted without
some of the examples (cross-conformal, Vovk 2015, arXiv:1208.0806).
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import log_softmax

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.words import percent
from quickstudy.estimators.heads import AbstractHead
from quickstudy.estimators.scaling import Array


def needed_for_sets(alpha: float) -> int:
    """How many examples it takes (of each class, for a promise class by class).

    >>> needed_for_sets(0.1), needed_for_sets(0.05)
    (9, 19)
    """
    return math.ceil(1 / alpha - 1e-9) - 1


class ConformalSets:
    """What the sets of a classifier are decided by: rounds of examples and a head that has not seen
    them.

    Args:
        n: how many classes there are.
        temperature: what scores are divided by before the softmax.
    """

    def __init__(self, n: int, temperature: float) -> None:
        self.n = n
        self.temperature = temperature
        self.rounds: list[tuple[AbstractHead, Array, NDArray[np.int64]]] = []

    def add_round(
        self, head: AbstractHead, x: Float[Array, "m D"], y: Int[NDArray[np.int64], " m"]
    ) -> None:
        """Examples, the place of each one's class, and a head that was fitted without them."""
        conformity = self._conformity(head, x)[np.arange(len(y)), y]
        self.rounds.append((head, conformity, y))

    def p_values(self, x: Float[Array, "k D"], *, by_class: bool) -> Float[Array, "k C"]:
        """The share of examples, among them the vector itself, that conform no better to their
        class than the vector to each class.

        Args:
            x: the vectors.
            by_class: compare with the examples of that class only.
        """
        below = np.zeros((len(x), self.n))
        for head, conformity, y in self.rounds:
            own = self._conformity(head, x)
            for c in range(self.n) if by_class else [slice(None)]:
                some = np.sort(conformity[y == c] if by_class else conformity)
                below[:, c] += np.searchsorted(some, own[:, c], side="right")
        return (below + 1) / (self._counts(by_class) + 1)

    def sets(
        self, x: Float[Array, "k D"], alpha: float, *, by_class: bool
    ) -> Bool[NDArray[np.bool_], "k C"]:
        """Which classes belong to the set of each vector.

        Raises:
            ConfigError: for α outside of (0, 1), or too few examples for it.
        """
        if not 0 < alpha < 1:
            raise ConfigError(
                "Prediction sets take the share of cases in which they may miss the right class, "
                f"between 0 and 1 such as 0.1, got {alpha}."
            )
        fewest = int(self._counts(by_class).min())
        if fewest < needed_for_sets(alpha):
            of = " of each class" if by_class else ""
            raise ConfigError(
                f"Sets that miss the right class in at most {100 * alpha:g} % of cases take "
                f"{needed_for_sets(alpha)} examples{of} that can be left out or were kept for "
                f"calibration, but there are {fewest}. Give more, or allow "
                f"{percent(1 / (fewest + 1), 1, up=True)}."
            )
        return self.p_values(x, by_class=by_class) > alpha

    def _conformity(self, head: AbstractHead, x: Array) -> Array:
        return log_softmax(head.scores(x) / self.temperature, axis=1)

    def _counts(self, by_class: bool) -> NDArray[np.int64]:
        """How many examples each class is compared with."""
        counts = sum(
            (np.bincount(y, minlength=self.n) for _, _, y in self.rounds),
            np.zeros(self.n, np.int64),
        )
        return counts if by_class else np.full(self.n, counts.sum())
