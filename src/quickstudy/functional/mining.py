"""Which triplets of a batch to learn from: an anchor, a positive of its class and a negative of
another.
"""

from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

Triplets: TypeAlias = tuple[Int[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " n"]]
"""Anchors, positives and negatives, as rows of the batch."""


def batch_hard(distance: Float[Tensor, "B B"], y: Int[Tensor, " B"]) -> Triplets:
    """For every anchor its farthest positive and its nearest negative; anchors that are alone in
    their class, or in one with all, are left out.

    >>> d = torch.tensor([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]])
    >>> batch_hard(d, torch.tensor([0, 0, 1]))
    (tensor([0, 1]), tensor([1, 0]), tensor([2, 2]))

    Paper: Hermans, Beyer, Leibe 2017, arXiv:1703.07737, equation 5.
    """
    same, other = _same(y)
    anchors = (same.any(1) & other.any(1)).nonzero()[:, 0]
    far = distance.masked_fill(~same, -torch.inf).argmax(1)
    near = distance.masked_fill(~other, torch.inf).argmin(1)
    return anchors, far[anchors], near[anchors]


def semi_hard(distance: Float[Tensor, "B B"], y: Int[Tensor, " B"], *, margin: float) -> Triplets:
    """For every pair of one class the nearest negative that is farther than the positive but within
    the margin; pairs without one are left out.

    Paper: Schroff, Kalenichenko, Philbin 2015, arXiv:1503.03832, equation 4.
    """
    same, other = _same(y)
    a, p = same.nonzero(as_tuple=True)
    # [pairs B]
    between = (
        other[a]
        & (distance[a] > distance[a, p][:, None])
        & (distance[a] < distance[a, p][:, None] + margin)
    )
    near = distance[a].masked_fill(~between, torch.inf).argmin(1)
    found = between.any(1)
    return a[found], p[found], near[found]


def random_triplets(y: Int[Tensor, " B"], *, generator: torch.Generator) -> Triplets:
    """For every pair of one class a random negative; the generator is on the CPU."""
    same, other = _same(y)
    a, p = same.nonzero(as_tuple=True)
    keep = other[a].any(1)
    a, p = a[keep], p[keep]
    drawn = torch.rand(len(a), len(y), generator=generator).to(y.device)
    return a, p, drawn.masked_fill(~other[a], -1.0).argmax(1)


def _same(y: Tensor) -> tuple[Tensor, Tensor]:
    """Which two are of one class, without an example and itself, and which are not."""
    same = y[:, None] == y
    return same & ~torch.eye(len(y), dtype=torch.bool, device=y.device), ~same
