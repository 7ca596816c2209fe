"""A few points that stand for many."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import generator

_BLOCK = 4096
_SPARE = 4  # further candidates, as single precision may order near ones wrongly


def greedy_coreset(
    x: Float[Tensor, "n D"], m: int, *, projection: int = 128, seed: int = 0
) -> Int[Tensor, " m"]:
    """The rows of ``m`` points, chosen one after the other so that the next is always the one that
    is farthest from all chosen before.

    The farthest point then lies at most twice as far from its nearest chosen one as with the best
    choice of m points.

    Args:
        x: the points.
        m: how many are chosen, at most n.
        projection: distances are taken after a random projection onto so many dimensions, where x
            has more; 0 = never.
        seed: of the projection and of the first point.

    Raises:
        ConfigError: when m is not between 1 and n.

    >>> greedy_coreset(torch.tensor([[0.0], [1.0], [10.0], [11.0]]), 2).sort().values.tolist() in (
    ...     [0, 2],
    ...     [0, 3],
    ...     [1, 3],
    ... )
    True

    Source: Sener and Savarese 2018, arXiv:1708.00489, algorithm 1; with a projection Roth et al.
        2022, arXiv:2106.08265, algorithm 1.
    """
    n = len(x)
    if not 1 <= m <= n:
        raise ConfigError(f"A coreset of {n} points has 1 to {n} of them, got m={m}.")
    g = generator("coreset", seed)
    if projection and x.shape[1] > projection:
        x = x @ (torch.randn(x.shape[1], projection, generator=g).to(x) / projection**0.5)
    chosen = [int(torch.randint(n, (1,), generator=g))]
    squares = x.square().sum(1)
    nearest = torch.full((n,), torch.inf, dtype=x.dtype, device=x.device)
    for _ in range(m - 1):
        last = chosen[-1]
        nearest = torch.minimum(nearest, squares + squares[last] - 2 * (x @ x[last]))
        nearest[last] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


def nearest_distances(
    q: Float[Tensor, "n D"], memory: Float[Tensor, "m D"], *, k: int = 1
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The Euclidean distances to the k nearest points of a memory, nearest first, and which they
    are; a block of queries at a time.

    Matrix products find the candidates. Their distances are then taken from the differences, in
    double precision: of equal points it is 0, and it does not depend on the other queries.
    """
    squares, distances, indices = memory.square().sum(1), [], []
    candidates = min(k + _SPARE, len(memory))
    for block in q.split(_BLOCK):
        gap = squares - 2 * block @ memory.T  # [b m], less the squares of the queries
        near = gap.topk(candidates, largest=False).indices.sort(dim=1).values
        exact = torch.stack(
            [(block.double() - memory[column].double()).norm(dim=1) for column in near.T], dim=1
        )
        order = exact.sort(dim=1, stable=True)
        distances.append(order.values[:, :k].to(q.dtype))
        indices.append(near.gather(1, order.indices[:, :k]))
    return torch.cat(distances), torch.cat(indices)
