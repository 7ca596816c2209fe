"""Unit vectors in memory, each of an owner: added at the end, removed at once."""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import GalleryError

Vectors: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]

NO_OWNER = -1
MAX_DELETED = 64
"""So many deleted rows may stay, whatever their share."""
SAME_PHOTO = 1 - 1e-5
"""Vectors with a similarity from here on are of the same photo, encoded twice."""
_COPIED_AT_ONCE = 4096


def unit(given: ArrayLike, dim: int) -> Float[Vectors, "n D"]:
    """Vectors as they are kept: ``[n D]``, of length 1.

    Raises:
        GalleryError: for what is not of D finite numbers, or zero.
    """
    try:
        x = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GalleryError(f"Expected vectors of {dim} numbers: {error}.") from error
    if x.ndim != 2 or x.shape[1] != dim or not len(x):
        raise GalleryError(
            f"Expected vectors [n {dim}] with n of at least 1, got shape {tuple(x.shape)}."
        )
    largest = np.abs(x).max(axis=1, keepdims=True)
    if not np.isfinite(largest).all() or not largest.all():
        raise GalleryError(
            "A vector is zero or not of finite numbers, so it has no direction. Check the image "
            "and the encoder."
        )
    scaled = x / largest  # so that no square overflows
    return (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)


class VectorTable:
    """Unit vectors that come and go.

    A removed row is zeroed and passed over; when more than a tenth are, the table is compacted.

    Args:
        dim: D, length of a vector.

    Attributes:
        is_local: the vectors are in this process.
        is_read: the rows are; what is not read yet needs not be followed.
    """

    is_local: bool = True
    is_read: bool = True

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._vectors = np.empty((0, dim), np.float32)
        self._owners = np.empty(0, np.int64)
        self._ids = np.empty(0, np.int64)
        self.used = 0
        self.deleted = 0
        self.generation = 0  # counts the compactions, after each of which rows have new numbers

    def __len__(self) -> int:
        """How many vectors there are."""
        return self.used - self.deleted

    @property
    def vectors(self) -> Float[Vectors, "rows D"]:
        """All rows, zeros where one was removed."""
        return self._vectors[: self.used]

    @property
    def owners(self) -> Int[Integers, " rows"]:
        """The owner of each row; `NO_OWNER` where it was removed."""
        return self._owners[: self.used]

    @property
    def ids(self) -> Int[Integers, " rows"]:
        """The id of each row in the database."""
        return self._ids[: self.used]

    @property
    def alive(self) -> Int[Integers, " n"]:
        """The rows that were not removed."""
        return np.flatnonzero(self.owners != NO_OWNER)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use."""
        return self.vectors.nbytes + self.owners.nbytes + self.ids.nbytes

    def reserve(self, rows: int) -> None:
        """Make room for so many rows in all. Pages that are never written take no memory."""
        if rows <= len(self._vectors):
            return
        room = max(rows, len(self._vectors) + len(self._vectors) // 2)
        vectors = np.empty((room, self.dim), np.float32)
        owners = np.empty(room, np.int64)
        ids = np.empty(room, np.int64)
        vectors[: self.used] = self._vectors[: self.used]
        owners[: self.used] = self._owners[: self.used]
        ids[: self.used] = self._ids[: self.used]
        self._vectors, self._owners, self._ids = vectors, owners, ids

    def add(
        self, vectors: Float[Vectors, "n D"], owners: Int[Integers, " n"], ids: Int[Integers, " n"]
    ) -> None:
        """Put rows at the end."""
        begin, end = self.used, self.used + len(vectors)
        self.reserve(end)
        self._vectors[begin:end] = vectors
        self._owners[begin:end] = owners
        self._ids[begin:end] = ids
        self.used = end

    def remove(self, rows: Int[Integers, " n"]) -> None:
        """Remove rows. Row numbers from before are void afterwards."""
        self._vectors[rows] = 0
        self._owners[rows] = NO_OWNER
        self.deleted += len(rows)
        if self.deleted > max(MAX_DELETED, self.used // 10):
            self._compact()

    def _compact(self) -> None:
        kept = self.alive
        for begin in range(0, len(kept), _COPIED_AT_ONCE):
            # In place: no row moves to where one has yet to move from.
            rows = kept[begin : begin + _COPIED_AT_ONCE]
            for array in (self._vectors, self._owners, self._ids):
                array[begin : begin + len(rows)] = array[rows]
        self._vectors[len(kept) : self.used] = 0
        self.used, self.deleted = len(kept), 0
        self.generation += 1

    def rows_of(self, owners: Int[Integers, " n"]) -> Int[Integers, " m"]:
        """The rows of some owners."""
        return np.flatnonzero(
            self.owners == owners[0] if len(owners) == 1 else np.isin(self.owners, owners)
        )

    def take(self, rows: Int[Integers, " n"]) -> Float[Vectors, "n D"]:
        """The vectors of some rows."""
        return self.vectors[rows]

    def of(self, owner: int) -> Float[Vectors, "m D"]:
        """The vectors of one owner."""
        return self.vectors[self.owners == owner]

    def by_owner(self) -> Int[Integers, " n"]:
        """The rows that were not removed, by owner, and those of one by id."""
        rows = np.lexsort((self.ids, self.owners))
        return rows[self.deleted :]  # the removed ones come first
