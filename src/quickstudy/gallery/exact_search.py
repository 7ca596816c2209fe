"""Vectors in memory, each of an owner: added at the end, forgotten at once, searched exactly."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import GalleryError

Vectors: TypeAlias = NDArray[np.float32]
Whole: TypeAlias = NDArray[np.int64]
Ranked: TypeAlias = tuple[Whole, Vectors]
"""Owners with their similarities, the nearest first; of equal ones the lower number first."""

NOBODY = -1
PROBES = 256
"""So many probes share one walk over the vectors."""
SIMILARITIES = 2**21
"""So many are in memory at once."""
ALONE = 5
"""Up to so many probes are multiplied one by one: a matrix product of a thin matrix takes longer,
measured with OpenBLAS and MKL.
"""
FIRST = 4096
"""Rows of the first block, after which few others are near enough to be looked at."""
FEW = 64
"""So many forgotten rows may stay, whatever the share."""
NONE: Ranked = (np.empty(0, np.int64), np.empty(0, np.float32))


def unit(given: ArrayLike, dim: int) -> Float[Vectors, "n D"]:
    """Vectors as they are kept: ``[n D]``, of length 1.

    Raises:
        GalleryError: for what is not of D finite numbers, or zero.
    """
    try:
        x = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise GalleryError(f"Expected vectors of {dim} numbers: {error}.") from error
    if x.ndim != 2 or x.shape[1] != dim or not len(x):
        raise GalleryError(
            f"Expected vectors [n {dim}] with n of at least 1, got shape {tuple(x.shape)}."
        )
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not np.isfinite(length).all() or not length.all():
        raise GalleryError(
            "A vector is zero or not of finite numbers, so it has no direction. Check the picture "
            "and the encoder."
        )
    return x / length


class Matrix:
    """Unit vectors that come and go. A forgotten row is zeroed and passed over; when more than a
    tenth are, the others close up.

    Args:
        dim: D, length of a vector.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._vectors = np.empty((0, dim), np.float32)
        self._owners, self._numbers = np.empty(0, np.int64), np.empty(0, np.int64)
        self.used, self.dead = 0, 0
        self.generation = 0  # of the numbering of rows: counts how often they closed up

    def __len__(self) -> int:
        """How many vectors there are."""
        return self.used - self.dead

    @property
    def vectors(self) -> Float[Vectors, "rows D"]:
        """All rows, zeros where one is forgotten."""
        return self._vectors[: self.used]

    @property
    def owners(self) -> Int[Whole, " rows"]:
        """Whose each row is; `NOBODY` where it is forgotten."""
        return self._owners[: self.used]

    @property
    def numbers(self) -> Int[Whole, " rows"]:
        """What each row is called in the database."""
        return self._numbers[: self.used]

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use."""
        return self.vectors.nbytes + self.owners.nbytes + self.numbers.nbytes

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all. Pages that are never written take no memory."""
        if rows > len(self._vectors):
            room = max(rows, len(self._vectors) + len(self._vectors) // 2)
            vectors, owners, numbers = (
                np.empty((room, self.dim), np.float32),
                np.empty(room, np.int64),
                np.empty(room, np.int64),
            )
            vectors[: self.used], owners[: self.used], numbers[: self.used] = (
                self.vectors,
                self.owners,
                self.numbers,
            )
            self._vectors, self._owners, self._numbers = vectors, owners, numbers

    def add(
        self, vectors: Float[Vectors, "n D"], owners: Int[Whole, " n"], numbers: Int[Whole, " n"]
    ) -> None:
        """Put rows at the end."""
        begin, end = self.used, self.used + len(vectors)
        self.reserve(end)
        self._vectors[begin:end], self._owners[begin:end], self._numbers[begin:end] = (
            vectors,
            owners,
            numbers,
        )
        self.used = end

    def drop(self, rows: Int[Whole, " n"]) -> None:
        """Forget rows. Row numbers from before are void afterwards."""
        self._vectors[rows], self._owners[rows] = 0, NOBODY
        self.dead += len(rows)
        if self.dead > max(FEW, self.used // 10):
            self._close_up()

    def _close_up(self) -> None:
        kept = np.flatnonzero(self.owners != NOBODY)
        for begin in range(
            0, len(kept), FIRST
        ):  # in place: no row moves to where one has yet to move from
            rows = kept[begin : begin + FIRST]
            for array in (self._vectors, self._owners, self._numbers):
                array[begin : begin + len(rows)] = array[rows]
        self._vectors[len(kept) : self.used] = 0
        self.used, self.dead = len(kept), 0
        self.generation += 1

    def rows_of(self, owners: Int[Whole, " n"]) -> Int[Whole, " m"]:
        """The rows of some owners."""
        return np.flatnonzero(
            self.owners == owners[0] if len(owners) == 1 else np.isin(self.owners, owners)
        )

    def of(self, owner: int) -> Float[Vectors, "m D"]:
        """The vectors of one owner."""
        return self.vectors[self.owners == owner]

    def by_owner(self) -> Int[Whole, " n"]:
        """The rows that are not forgotten, by owner, and those of one by number."""
        rows = np.lexsort((self.numbers, self.owners))
        return rows[self.dead :]  # nobody comes first

    def nearest(
        self,
        x: Float[Vectors, "P D"],
        k: int,
        *,
        without: Whole | None = None,
        but: Whole | None = None,
    ) -> list[Ranked]:
        """As the function `nearest`, of what is here."""
        return nearest(x, self.vectors, self.owners, k, without=without, but=but)


def exact(x: Float[Vectors, " D"], vectors: Float[Vectors, "n D"]) -> Float[Vectors, " n"]:
    """Cosines of one unit vector with others, in double precision, rounded at the end: the same
    wherever a vector lies among others.
    """
    wide, out = x.astype(np.float64), np.empty(len(vectors), np.float32)
    for begin in range(0, len(vectors), FIRST):
        part = slice(begin, begin + FIRST)
        out[part] = (vectors[part] * wide).sum(1)
    return out


def nearest(
    x: Float[Vectors, "P D"],
    vectors: Float[Vectors, "n D"],
    owners: Int[Whole, " n"],
    k: int,
    *,
    without: Whole | None = None,
    but: Whole | None = None,
    above: Vectors | None = None,
) -> list[Ranked]:
    """The k owners nearest to each probe, exactly; an owner is as near as the nearest of its
    vectors.

    Blocks of similarities come from matrix products in single precision, which are off by at most
    (D + 8) · 2⁻²⁴ for unit vectors. Whatever could be among the k within that error is computed
    again in double precision, so the answer does not depend on the order of the rows.

    Args:
        x: probes, unit vectors.
        vectors: unit vectors.
        owners: of each; `NOBODY` is passed over.
        k: how many owners, at least 1; there are fewer where there are no more.
        without: an owner for each probe that is passed over, ``[P]``.
        but: a row for each probe that is passed over, ``[P]``.
        above: a similarity for each probe, ``[P]``; what is not above it may be left out, which
            saves time.

    Returns:
        For each probe, its owners and their similarities.
    """
    found: list[Ranked] = []
    for begin in range(0, len(x), PROBES):
        part = slice(begin, begin + PROBES)
        own, rows, least = (
            None if without is None else without[part],
            None if but is None else but[part],
            None if above is None else above[part],
        )
        found += _nearest(x[part], vectors, owners, k, own, rows, least)
    return found


def _nearest(
    x: Vectors,
    vectors: Vectors,
    owners: Whole,
    k: int,
    without: Whole | None,
    but: Whole | None,
    above: Vectors | None,
) -> list[Ranked]:
    off = slack(x.shape[1])
    best, floor = [NONE] * len(x), np.full(len(x), -2.0, np.float32)
    if above is not None:
        np.maximum(floor, above - off, out=floor)
    for begin, end in _blocks(len(vectors), len(x)):
        s = _products(x, vectors[begin:end])  # [P B]
        whose = owners[begin:end]
        if (whose == NOBODY).any():
            s[:, whose == NOBODY] = -np.inf
        if without is not None:
            s[without[:, None] == whose] = -np.inf
        if but is not None:
            here = np.flatnonzero((but >= begin) & (but < end))
            s[here, but[here] - begin] = -np.inf
        top = s.max(1)
        if k == 1:
            np.maximum(floor, top - 2 * off, out=floor)
        for p in np.flatnonzero(top >= floor).tolist():
            at = np.flatnonzero(s[p] >= floor[p])
            best[p] = better(best[p], x[p], vectors, owners, at + begin, s[p, at], k)
            if len(best[p][0]) == k:
                floor[p] = max(floor[p], best[p][1][-1] - off)
    return best


def better(
    so_far: Ranked, x: Vectors, vectors: Vectors, owners: Whole, rows: Whole, about: Vectors, k: int
) -> Ranked:
    """The k nearest of those so far and of the owners of some rows, whose similarities are known
    but for the error of single precision.
    """
    worth = rows[_worth(about, owners[rows], k, slack(len(x)))]
    whose = np.concatenate([so_far[0], owners[worth]])
    similarity = np.concatenate([so_far[1], exact(x, vectors[worth])])
    order = np.lexsort((whose, -similarity))
    _, first = np.unique(whose[order], return_index=True)
    chosen = order[np.sort(first)[:k]]
    return whose[chosen], similarity[chosen]


def slack(dim: int) -> np.float32:
    """By how much the product of two unit vectors may be off in single precision. Higham 2002,
    Accuracy and Stability, equation 3.5.
    """
    return np.float32((dim + 8) * 2.0**-24)


def _worth(about: Vectors, whose: Whole, k: int, off: np.float32) -> Whole:
    """Which of some candidates could be the nearest row of one of the k nearest owners."""
    at = np.arange(len(about))
    few = 4 * k + 16
    if len(at) <= few:
        return at
    for size in (few, len(at)):
        some = at if size == len(at) else np.argpartition(-about, size)[:size]
        best = np.sort(_best(about[some], whose[some])[1])
        if len(best) >= k:
            at = np.flatnonzero(about >= best[-k] - 2 * off)
            break
    if len(at) > few:  # most of them rows of one owner, of which one will do
        places, best = _best(about[at], whose[at])
        at = at[about[at] >= best[places] - 2 * off]
    return at


def _best(about: Vectors, whose: Whole) -> tuple[Whole, Vectors]:
    """The owner's place of each candidate, and the best of each owner."""
    names, places = np.unique(whose, return_inverse=True)
    best = np.full(len(names), -np.inf, np.float32)
    np.maximum.at(best, places, about)
    return places, best


def _products(x: Vectors, vectors: Vectors) -> Vectors:
    return (
        x @ vectors.T
        if len(x) > ALONE
        else np.stack([np.einsum("nd,d->n", vectors, probe) for probe in x])
    )


def _blocks(rows: int, probes: int) -> Iterator[tuple[int, int]]:
    begin, end = 0, min(FIRST, rows)
    while begin < rows:
        yield begin, end
        begin, end = end, min(end + max(FIRST, SIMILARITIES // probes), rows)
