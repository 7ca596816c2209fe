"""Vectors as bytes with a checksum: a bit that flipped on the disk is noticed when it is read."""

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from quickstudy.core.errors import GalleryError
from quickstudy.gallery.vectors import Vectors

_LENGTH_ERROR = 1e-3


def checksum(vector: bytes, owner: int) -> int:
    """Of a vector and whom it is of.

    >>> checksum(b"1234", 1) != checksum(b"1234", 2)
    True
    """
    return zlib.crc32(vector, zlib.crc32(owner.to_bytes(8, "little", signed=True)))


def checked_vectors(
    contents: Sequence[bytes],
    checksums: Sequence[int],
    owners: Sequence[int],
    *,
    dim: int,
    place: str,
) -> Float[Vectors, "n D"]:
    """Vectors as they were written.

    Args:
        contents: of each vector, its bytes.
        checksums: that were written with them.
        owners: whom each is of.
        dim: D, how many numbers each has.
        place: of the gallery, for messages.

    Raises:
        GalleryError: when one has another length, another checksum, or is no unit vector.
    """
    if any(len(content) != 4 * dim for content in contents):
        raise _damaged(place, f"a vector of {dim} numbers has {4 * dim} bytes, but one has not")
    pairs = zip(contents, checksums, owners, strict=True)
    if any(checksum(content, owner) != expected for content, expected, owner in pairs):
        raise _damaged(place, "a vector is not as it was written (its checksum is wrong)")
    vectors = np.frombuffer(b"".join(contents), np.float32).reshape(-1, dim)
    if not is_unit(vectors):
        raise _damaged(place, "a vector has not length 1, or is not of finite numbers")
    return vectors


def is_unit(vectors: Float[Vectors, "n D"]) -> bool:
    """Whether all vectors are of finite numbers and length 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)
    return bool((np.abs(squares - 1) < _LENGTH_ERROR).all())


def _damaged(place: str, why: str) -> GalleryError:
    return GalleryError(f"{place} is damaged: {why}. Restore it from a backup or an export.")
