"""Who plays the impostor to a gallery, and how near each comes to somebody there; kept up as the
gallery changes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from quickstudy.core.arrays import NDArray
from quickstudy.gallery.index import AbstractIndex
from quickstudy.gallery.search import Ranked, nearest
from quickstudy.gallery.vectors import Integers, Vectors, VectorTable

MAX_LEFT_OUT = 5_000
"""Without a cohort all templates play the impostor where there are no more than this; beyond, as
many identities.
"""


@dataclass(frozen=True)
class Impostors:
    """Vectors of those who are not enrolled, or are taken for such.

    Args:
        vectors: ``[n D]``, of length 1.
        own: the identity to which each is no impostor; `NO_OWNER` for none.
        ids: of each vector, the same whenever it is asked for.
        persons: who each vector is of.
        rule: by which they are impostors, see `quickstudy.gallery.policy.RULES`.
    """

    vectors: Float[Vectors, "n D"]
    own: Int[Integers, " n"]
    ids: Int[Integers, " n"]
    persons: Int[Integers, " n"]
    rule: str


@dataclass(frozen=True)
class ImpostorScores:
    """How near impostors come to somebody who is enrolled.

    Args:
        similarity: of each vector to the nearest identity.
        identity: which that is.
        persons: who each vector is of.
        rule: as in `Impostors`.
    """

    similarity: Float[NDArray[np.float32], " n"]
    identity: Int[Integers, " n"]
    persons: Int[Integers, " n"]
    rule: str


class ImpostorTracker:
    """For each impostor the similarity to the nearest identity, and which that is.

    When an identity comes, each impostor is compared with it alone. When one goes, those to whom it
    was the nearest are compared with everybody. Either way the similarities are those of a new
    start.

    Args:
        dim: D, length of a vector.
    """

    def __init__(self, dim: int) -> None:
        self._vectors = np.empty((0, dim), np.float32)
        self._own = np.empty(0, np.int64)
        self._ids = np.empty(0, np.int64)
        self._persons = np.empty(0, np.int64)
        self._nearest = np.empty(0, np.int64)
        self._similarity = np.empty(0, np.float32)

    def follow(
        self,
        impostors: Impostors,
        table: VectorTable,
        touched: Int[Integers, " t"],
        *,
        index: AbstractIndex,
    ) -> ImpostorScores:
        """The scores of these impostors, in no order.

        Args:
            impostors: who they are now.
            table: who is enrolled now.
            touched: the identities that came, went or changed since the last call.
            index: what compares with everybody, exactly.
        """
        stay = np.isin(self._ids, impostors.ids) & ~np.isin(self._own, touched)
        new = ~np.isin(impostors.ids, self._ids[stay])
        count = int(new.sum())
        known = np.r_[~np.isin(self._nearest[stay], touched), np.zeros(count, bool)]
        self._vectors = np.r_[self._vectors[stay], impostors.vectors[new]]
        self._own = np.r_[self._own[stay], impostors.own[new]]
        self._ids = np.r_[self._ids[stay], impostors.ids[new]]
        self._persons = np.r_[self._persons[stay], impostors.persons[new]]
        self._similarity = np.r_[self._similarity[stay], np.zeros(count, np.float32)]
        self._nearest = np.r_[self._nearest[stay], np.zeros(count, np.int64)]
        rows = table.rows_of(touched) if len(touched) else np.empty(0, np.int64)
        if len(rows) and known.any():
            self._keep_nearer(
                np.flatnonzero(known),
                lambda x, **rest: nearest(x, table.take(rows), table.owners[rows], 1, **rest),
            )
        if not known.all():
            self._similarity[~known] = -np.inf
            self._keep_nearer(
                np.flatnonzero(~known), lambda x, **rest: index.exact(x, 1, table, **rest)
            )
        return ImpostorScores(self._similarity, self._nearest, self._persons, impostors.rule)

    def _keep_nearer(self, which: Integers, search: Callable[..., list[Ranked]]) -> None:
        ranked = search(
            self._vectors[which],
            without_owner=self._own[which],
            above=self._similarity[which],
        )
        for row, (identities, similarities) in zip(which.tolist(), ranked, strict=True):
            if len(similarities) and similarities[0] > self._similarity[row]:
                self._similarity[row] = similarities[0]
                self._nearest[row] = identities[0]


def sample_rows(
    owners: Int[Integers, " n"], ids: Int[Integers, " n"], few: int, persons: int
) -> Int[Integers, " m"]:
    """The rows of the templates that play the impostor: all of a few, otherwise those of some
    identities.

    They are drawn as if by lot, but the same are drawn whenever it is asked: when an identity comes
    or goes, at most one other is replaced.

    Args:
        owners: the identity of each template.
        ids: of the templates.
        few: up to so many templates are taken all; otherwise about so many, and at least one of
            each of so many identities, if there are so many.
        persons: so many identities at least, if there are so many.

    >>> sample_rows(np.arange(1000), np.arange(1000), 3, 2)
    array([366, 410, 821])
    >>> sample_rows(np.arange(1000) // 500, np.arange(1000), 4, 2)
    array([366, 410, 503, 821])
    """
    if len(owners) <= few:
        return np.arange(len(owners))
    lot, many = _mixed(owners), max(few, persons)
    size = 2 * many
    while size < len(lot) and len(np.unique(np.partition(lot, size)[:size])) <= many:
        size *= 4
    chosen = np.unique(np.partition(lot, size)[:size] if size < len(lot) else lot)[:many]
    rows = np.flatnonzero(lot <= chosen[-1])
    rows = rows[np.lexsort((_mixed(ids[rows]), owners[rows]))]
    _, starts, counts = np.unique(owners[rows], return_index=True, return_counts=True)
    rank = np.arange(len(rows)) - np.repeat(starts, counts)
    return np.sort(rows[rank < max(1, few // len(chosen))])


def _mixed(numbers: Int[Integers, " n"]) -> NDArray[np.uint64]:
    """Another number for each, as if by lot. Steele, Lea, Flood 2014, SplitMix."""
    z = (numbers + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
