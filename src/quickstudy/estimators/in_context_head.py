"""The head that reads a table: a network that was meta-trained on synthetic ones."""

import copy
from typing import Any, Self

import numpy as np

from quickstudy.core.arrays import NDArray
from quickstudy.estimators.heads import AbstractHead
from quickstudy.estimators.scaling import Array

_LEAST = 1e-12


class InContextHead(AbstractHead):
    """`InContextClassifier` as a head, for the columns of a table; its scores are log
    probabilities. Examples of weight 0 are left out; other weights are not used.
    """

    turns = 10

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A fit makes another reader and changes no weight, so copies share both.
        return copy.copy(self)

    def fit(self, x: Array, y: NDArray[np.int64], n: int, weight: Array) -> Self:
        # Reading takes the network of tables, which images and texts do without.
        from quickstudy.estimators.in_context import InContextClassifier

        self.reader = InContextClassifier(temperature=1.0).fit(x[weight > 0], y[weight > 0])
        return self

    def scores(self, x: Array) -> Array:
        return np.log(np.maximum(self.reader.predict_proba(x), _LEAST))
