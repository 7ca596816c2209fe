"""Who plays the stranger to a gallery, and how near each comes to somebody there; kept up as the
gallery changes.
"""

import numpy as np
from jaxtyping import Float, Int

from quickstudy.core.arrays import NDArray
from quickstudy.gallery.exact_search import NOBODY, Matrix, Vectors, Whole, nearest

LEFT_OUT = 5_000
"""Without a cohort all templates play the stranger where there are no more than this; beyond, as
many identities.
"""


class Strangers:
    """For each stranger the similarity to the nearest identity, and which that is.

    When an identity comes, each stranger is compared with it alone. When one goes, those to whom it
    was the nearest are compared with everybody.
    Either way the similarities are those of a new start.

    Args:
        dim: D, length of a vector.
    """

    def __init__(self, dim: int) -> None:
        self._vectors = np.empty((0, dim), np.float32)
        self._own, self._numbers, self._whose = (np.empty(0, np.int64) for _ in range(3))
        self._near = np.empty(0, np.float32)

    def follow(
        self,
        vectors: Float[Vectors, "n D"],
        own: Int[Whole, " n"],
        numbers: Int[Whole, " n"],
        matrix: Matrix,
        touched: Int[Whole, " t"],
    ) -> Float[NDArray[np.float32], " n"]:
        """The similarities of these strangers, in no order.

        Args:
            vectors: of the strangers.
            own: the identity to which each is no stranger; `NOBODY` for none.
            numbers: what each stranger is called, whenever it is asked for.
            matrix: who is there.
            touched: the identities that came, went or changed since the last call.
        """
        stay = np.isin(self._numbers, numbers) & ~np.isin(self._own, touched)
        come = ~np.isin(numbers, self._numbers[stay])
        known = np.r_[~np.isin(self._whose[stay], touched), np.zeros(come.sum(), bool)]
        self._vectors = np.r_[self._vectors[stay], vectors[come]]
        self._own, self._numbers = (
            np.r_[self._own[stay], own[come]],
            np.r_[self._numbers[stay], numbers[come]],
        )
        self._near = np.r_[self._near[stay], np.zeros(come.sum(), np.float32)]
        self._whose = np.r_[self._whose[stay], np.zeros(come.sum(), np.int64)]
        rows = matrix.rows_of(touched) if len(touched) else np.empty(0, np.int64)
        if len(rows) and known.any():
            self._compare(np.flatnonzero(known), matrix.vectors[rows], matrix.owners[rows])
        if not known.all():
            self._near[~known] = -np.inf
            self._compare(np.flatnonzero(~known), matrix.vectors, matrix.owners)
        return self._near

    def who(self) -> Int[Whole, " n"]:
        """The identity that plays each stranger, in the order of `follow`; those of a cohort are
        one each.
        """
        return np.where(self._own == NOBODY, -2 - np.arange(len(self._own)), self._own)

    def _compare(self, which: Whole, vectors: Vectors, owners: Whole) -> None:
        found = nearest(
            self._vectors[which],
            vectors,
            owners,
            1,
            without=self._own[which],
            above=self._near[which],
        )
        for s, (whose, near) in zip(which.tolist(), found, strict=True):
            if len(near) and near[0] > self._near[s]:
                self._near[s], self._whose[s] = near[0], whose[0]


def drawn(
    owners: Int[Whole, " n"], numbers: Int[Whole, " n"], few: int, strangers: int
) -> Int[Whole, " m"]:
    """The places of the templates that play the stranger: all of a few, otherwise those of some
    identities.

    They are drawn as if by lot, but the same are drawn whenever it is asked: when an identity comes
    or goes, at most one other is replaced.

    Args:
        owners: whose each template is.
        numbers: what each template is called.
        few: up to so many templates are taken all; otherwise about so many, and at least one of
            each of so many identities, if there are so many.
        strangers: so many identities at least, if there are so many.

    >>> drawn(np.arange(1000), np.arange(1000), 3, 2)
    array([366, 410, 821])
    >>> drawn(np.arange(1000) // 500, np.arange(1000), 4, 2)
    array([366, 410, 503, 821])
    """
    if len(owners) <= few:
        return np.arange(len(owners))
    lot, many = _mixed(owners), max(few, strangers)
    some = 2 * many
    while some < len(lot) and len(np.unique(np.partition(lot, some)[:some])) <= many:
        some *= 4
    found = np.unique(np.partition(lot, some)[:some] if some < len(lot) else lot)[:many]
    rows = np.flatnonzero(lot <= found[-1])
    rows = rows[np.lexsort((_mixed(numbers[rows]), owners[rows]))]
    _, starts, counts = np.unique(owners[rows], return_index=True, return_counts=True)
    rank = np.arange(len(rows)) - np.repeat(starts, counts)
    return np.sort(rows[rank < max(1, few // len(found))])


def _mixed(numbers: Int[Whole, " n"]) -> NDArray[np.uint64]:
    """Another number for each, as if by lot. Steele, Lea, Flood 2014, SplitMix."""
    z = (numbers + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
