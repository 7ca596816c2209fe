"""Exact search among unit vectors: blocks in single precision, what matters in double."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int

from quickstudy.gallery.vectors import NO_OWNER, Integers, Vectors

Ranked: TypeAlias = tuple[Integers, Vectors]
"""Owners with their similarities, the nearest first; of equal ones the lower number first."""

PROBE_BLOCK = 256
"""So many probes share one walk over the vectors."""
BLOCK_SIZE = 2**21
"""So many similarities are in memory at once."""
SINGLE_PROBES = 5
"""Up to so many probes are multiplied one by one: a matrix product of a thin matrix takes longer,
measured with OpenBLAS and MKL.
"""
FIRST_BLOCK = 4096
"""Rows of the first block, after which few others are near enough to be looked at."""
NO_MATCHES: Ranked = (np.empty(0, np.int64), np.empty(0, np.float32))


def exact(x: Float[Vectors, " D"], vectors: Float[Vectors, "n D"]) -> Float[Vectors, " n"]:
    """Cosines of one unit vector with others, in double precision, rounded at the end: the same
    wherever a vector lies among others.
    """
    wide, out = x.astype(np.float64), np.empty(len(vectors), np.float32)
    for begin in range(0, len(vectors), FIRST_BLOCK):
        part = slice(begin, begin + FIRST_BLOCK)
        out[part] = (vectors[part] * wide).sum(1)
    return out


def nearest(
    x: Float[Vectors, "P D"],
    vectors: Float[Vectors, "n D"],
    owners: Int[Integers, " n"],
    k: int,
    *,
    without_owner: Integers | None = None,
    without_row: Integers | None = None,
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
        owners: of each; `NO_OWNER` is passed over.
        k: how many owners, at least 1; there are fewer where there are no more.
        without_owner: an owner for each probe that is passed over, ``[P]``.
        without_row: a row for each probe that is passed over, ``[P]``.
        above: a similarity for each probe, ``[P]``; what is not above it may be left out, which
            saves time.

    Returns:
        For each probe, its owners and their similarities.
    """
    result: list[Ranked] = []
    for begin in range(0, len(x), PROBE_BLOCK):
        part = slice(begin, begin + PROBE_BLOCK)
        result += _nearest(
            x[part],
            vectors,
            owners,
            k,
            None if without_owner is None else without_owner[part],
            None if without_row is None else without_row[part],
            None if above is None else above[part],
        )
    return result


def _nearest(
    x: Vectors,
    vectors: Vectors,
    owners: Integers,
    k: int,
    without_owner: Integers | None,
    without_row: Integers | None,
    above: Vectors | None,
) -> list[Ranked]:
    error = rounding_error(x.shape[1])
    best, floor = [NO_MATCHES] * len(x), np.full(len(x), -2.0, np.float32)
    if above is not None:
        np.maximum(floor, above - error, out=floor)
    for begin, end in _blocks(len(vectors), len(x)):
        s = _products(x, vectors[begin:end])  # [P B]
        of = owners[begin:end]
        if (of == NO_OWNER).any():
            s[:, of == NO_OWNER] = -np.inf
        if without_owner is not None:
            s[without_owner[:, None] == of] = -np.inf
        if without_row is not None:
            inside = np.flatnonzero((without_row >= begin) & (without_row < end))
            s[inside, without_row[inside] - begin] = -np.inf
        top = s.max(1)
        if k == 1:
            np.maximum(floor, top - 2 * error, out=floor)
        for p in np.flatnonzero(top >= floor).tolist():
            rows = np.flatnonzero(s[p] >= floor[p])
            best[p] = better(best[p], x[p], vectors, owners, rows + begin, s[p, rows], k)
            if len(best[p][0]) == k:
                floor[p] = max(floor[p], best[p][1][-1] - error)
    return best


def better(
    so_far: Ranked,
    x: Vectors,
    vectors: Vectors,
    owners: Integers,
    rows: Integers,
    approximate: Vectors,
    k: int,
) -> Ranked:
    """The k nearest of those so far and of the owners of some rows, whose similarities are known
    but for the error of single precision.
    """
    chosen = rows[_candidates(approximate, owners[rows], k, rounding_error(len(x)))]
    of = np.concatenate([so_far[0], owners[chosen]])
    similarity = np.concatenate([so_far[1], exact(x, vectors[chosen])])
    order = np.lexsort((of, -similarity))
    _, first = np.unique(of[order], return_index=True)
    kept = order[np.sort(first)[:k]]
    return of[kept], similarity[kept]


def rounding_error(dim: int) -> np.float32:
    """By how much the product of two unit vectors may be off in single precision. Higham 2002,
    Accuracy and Stability, equation 3.5.
    """
    return np.float32((dim + 8) * 2.0**-24)


def _candidates(approximate: Vectors, owners: Integers, k: int, error: np.float32) -> Integers:
    """Which of some rows could be the nearest row of one of the k nearest owners."""
    rows = np.arange(len(approximate))
    small = 4 * k + 16
    if len(rows) <= small:
        return rows
    for size in (small, len(rows)):
        some = rows if size == len(rows) else np.argpartition(-approximate, size)[:size]
        best = np.sort(_best(approximate[some], owners[some])[1])
        if len(best) >= k:
            rows = np.flatnonzero(approximate >= best[-k] - 2 * error)
            break
    if len(rows) > small:  # most of them rows of one owner, of which one will do
        of, best = _best(approximate[rows], owners[rows])
        rows = rows[approximate[rows] >= best[of] - 2 * error]
    return rows


def _best(approximate: Vectors, owners: Integers) -> tuple[Integers, Vectors]:
    """The number of each row's owner among the owners, and the best of each owner."""
    names, of = np.unique(owners, return_inverse=True)
    best = np.full(len(names), -np.inf, np.float32)
    np.maximum.at(best, of, approximate)
    return of, best


def _products(x: Vectors, vectors: Vectors) -> Vectors:
    return (
        x @ vectors.T
        if len(x) > SINGLE_PROBES
        else np.stack([np.einsum("nd,d->n", vectors, probe) for probe in x])
    )


def _blocks(rows: int, probes: int) -> Iterator[tuple[int, int]]:
    begin, end = 0, min(FIRST_BLOCK, rows)
    while begin < rows:
        yield begin, end
        begin, end = end, min(end + max(FIRST_BLOCK, BLOCK_SIZE // probes), rows)
