"""Which examples are left out at a time, to see how the others recognise them."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from quickstudy.core.arrays import NDArray

TURNS = 20
"""In how many rounds at most all examples are left out."""


def left_out_rounds(
    y: Int[NDArray[np.int64], " N"],
    n: int,
    weight: Float[NDArray[np.float64], " N"] | None = None,
    *,
    turns: int = TURNS,
    by_halves: bool = False,
) -> Iterator[Bool[NDArray[np.bool_], " N"]]:
    """Which examples are left out, round by round: one of every class (of classes of more than
    ``turns`` examples a part), as far as its class has another of some weight.

    If one alone were left out, its class would be the smallest: of classes of two, one example
    against two, which nearly everything that is learned answers for the class of two.

    Args:
        y: the class of each example, from 0.
        n: how many classes there are.
        weight: of each example; None = all alike.
        turns: how many rounds there are at most.
        by_halves: leave out those of every second class only, so that of two examples each the
            other classes still show how far they lie apart; in twice as many rounds.

    >>> [left.tolist() for left in left_out_rounds(np.array([0, 0, 1, 1, 2]), 3)]
    [[True, False, True, False, False], [False, True, False, True, False]]
    """
    weights = np.ones(len(y)) if weight is None else weight
    turn = _rank_in_class(y, n) % turns
    if by_halves:
        turn = 2 * turn + y % 2
    totals = np.bincount(y, weights, minlength=n)
    for t in range(int(turn.max()) + 1):
        rest = totals - np.bincount(y, weights * (turn == t), minlength=n)
        left = (turn == t) & (rest > 1e-12 * totals)[y]
        if left.any():
            yield left


def _rank_in_class(y: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many examples of its class stand before each."""
    counts = np.bincount(y, minlength=n)
    rank = np.empty(len(y), np.int64)
    rank[np.argsort(y, kind="stable")] = np.arange(len(y)) - np.repeat(
        np.cumsum(counts) - counts, counts
    )
    return rank
