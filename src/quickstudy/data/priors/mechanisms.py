"""How a synthetic table comes about: rows of columns ``[N F]`` and rows of outputs ``[N K]``.

Each mechanism is a random law, drawn anew for every task from the generator that it is given, and
independent of everything else.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Table = tuple[Float[Tensor, "N F"], Float[Tensor, "N K"]]


def structural(n_rows: int, n_columns: int, n_outputs: int, g: torch.Generator) -> Table:
    """A structural causal model: a random layered graph whose nodes are noisy functions of nodes
    before them. Columns and outputs are nodes, so that columns may be causes or effects of the
    outputs, and of each other.
    """
    n_causes, depth = _whole(2, max(2, min(16, n_columns)), g), _whole(1, 3, g)
    width = _whole(6, 40, g)
    h = _causes(n_rows, n_causes, g)
    nodes = [h]
    for _ in range(depth):
        weight = torch.randn(h.shape[1], width, generator=g)
        weight = weight * (torch.rand(weight.shape, generator=g) < 0.15 + 0.85 * _share(g))
        u = _standard(h @ weight + 0.3 * torch.randn(width, generator=g))
        h = _activated(u, g)
        h = h + torch.randn(h.shape, generator=g) * (0.4 * _share(g) ** 3)
        nodes.append(h)
    everything = torch.cat(nodes, 1)
    lacking = n_columns + n_outputs - everything.shape[1]
    if lacking > 0:
        more = everything @ torch.randn(everything.shape[1], lacking, generator=g)
        more = torch.tanh(_standard(more)) + 0.3 * torch.randn(n_rows, lacking, generator=g)
        everything = torch.cat((everything[:, :n_causes], more, everything[:, n_causes:]), 1)
    total = everything.shape[1]
    if _share(g) < 0.5:  # outputs from the last layer, columns from anywhere before
        columns = torch.randperm(total - n_outputs, generator=g)
        if _share(g) < 0.5:  # the causes before all other nodes, so that little is hidden
            columns = torch.cat((columns[columns < n_causes], columns[columns >= n_causes]))
        order = torch.cat((columns[:n_columns], torch.arange(total - n_outputs, total)))
    else:
        order = torch.randperm(total, generator=g)[: n_columns + n_outputs]
    return everything[:, order[:n_columns]], everything[:, order[n_columns:]]


def trees(n_rows: int, n_columns: int, n_outputs: int, g: torch.Generator) -> Table:
    """A forest of random decision trees over correlated columns: piecewise constant outputs, whose
    borders follow the axes.
    """
    x = _correlated(n_rows, n_columns, g)
    n_trees, depth = _whole(1, 10, g), _whole(1, 4, g)
    inner = 2**depth - 1
    relevant = torch.randperm(n_columns, generator=g)[: _whole(1, n_columns, g)]
    column = relevant[torch.randint(len(relevant), (n_trees, inner), generator=g)]
    row = torch.randint(n_rows, (n_trees, inner), generator=g)
    border = x[row, column] + 0.1 * torch.randn(n_trees, inner, generator=g)
    node = torch.zeros(n_rows, n_trees, dtype=torch.long)
    tree = torch.arange(n_trees)
    for _ in range(depth):
        right = x.gather(1, column[tree, node]) > border[tree, node]
        node = 2 * node + 1 + right.long()
    leaves = torch.randn(n_trees, inner + 1, n_outputs, generator=g)
    return x, leaves[tree, node - inner].sum(1)


def clusters(n_rows: int, n_columns: int, n_outputs: int, g: torch.Generator) -> Table:
    """A mixture of Gaussians of different shapes, each with outputs of its own."""
    n_clusters = _whole(max(2, n_outputs), 3 * max(2, n_outputs), g)
    rank = _whole(1, min(n_columns, 6), g)
    share = torch.rand(n_clusters, generator=g) + 0.1
    member = torch.multinomial(share, n_rows, replacement=True, generator=g)
    spread = 0.3 + 1.5 * _share(g)
    centre = torch.randn(n_clusters, n_columns, generator=g)
    centre = centre * (torch.rand(n_columns, generator=g) < 0.2 + 0.8 * _share(g))
    shape = torch.randn(rank, n_columns, generator=g)
    if _share(g) < 0.5:
        shape = shape + 0.7 * torch.randn(n_clusters, rank, n_columns, generator=g)
        inner = torch.einsum(
            "nr,nrf->nf", torch.randn(n_rows, rank, generator=g), shape[member]
        ) / math.sqrt(rank)
    else:
        inner = torch.randn(n_rows, rank, generator=g) @ shape / math.sqrt(rank)
    scale = 0.3 + torch.rand(n_clusters, 1, generator=g)
    noise = torch.randn(n_rows, n_columns, generator=g)
    x = centre[member] + spread * (0.7 * inner + 0.5 * noise) * scale[member]
    value = torch.randn(n_clusters, n_outputs, generator=g)
    if n_outputs > 1:
        value = 0.3 * value + 3 * F.one_hot(torch.arange(n_clusters) % n_outputs, n_outputs)
    return x, value[member]


def additive(n_rows: int, n_columns: int, n_outputs: int, g: torch.Generator) -> Table:
    """Sums of one-dimensional functions of correlated columns, sparse, sometimes with products of
    two.
    """
    x = _correlated(n_rows, n_columns, g)
    weight = torch.randn(n_columns, n_outputs, generator=g)
    weight = weight * (torch.rand(n_columns, 1, generator=g) < 0.2 + 0.8 * _share(g))
    curved = x if _share(g) < 0.5 else _activated(x * (0.5 + 1.5 * _share(g)), g)
    out = curved @ weight
    if n_columns > 1 and _share(g) < 0.35:
        n_products = _whole(1, min(4, n_columns), g)
        a, b = torch.randint(n_columns, (2, n_products), generator=g)
        products = x[:, a] * x[:, b]
        out = out + products @ torch.randn(n_products, n_outputs, generator=g)
    return x, out


MECHANISMS: dict[str, tuple[float, Callable[[int, int, int, torch.Generator], Table]]] = {
    "structural": (0.5, structural),
    "trees": (0.17, trees),
    "clusters": (0.15, clusters),
    "additive": (0.18, additive),
}
"""The mechanisms, each with the share of the tasks that it makes."""


def draw_mechanism(n_rows: int, n_columns: int, n_outputs: int, g: torch.Generator) -> Table:
    """Rows by one of ``MECHANISMS``, chosen by their shares; columns and outputs standardised."""
    u = _share(g)
    upto = list(accumulate(share for share, _ in MECHANISMS.values()))
    at = min(bisect_right(upto, u), len(upto) - 1)
    _, mechanism = list(MECHANISMS.values())[at]
    x, out = mechanism(n_rows, n_columns, n_outputs, g)
    return _standard(x), _standard(out)


def _causes(n_rows: int, n: int, g: torch.Generator) -> Tensor:
    z = torch.randn(n_rows, n, generator=g)
    kind = torch.rand(n, generator=g)
    z = torch.where(kind < 0.2, z.sign() * z.abs() ** 1.5, z)
    z = torch.where((kind >= 0.2) & (kind < 0.35), 2 * torch.rand(z.shape, generator=g) - 1, z)
    return torch.where(kind > 0.85, (z * 1.5).round(), z)


def _correlated(n_rows: int, n: int, g: torch.Generator) -> Tensor:
    """Columns that share some factors, or none."""
    z = torch.randn(n_rows, n, generator=g)
    if _share(g) < 0.25:
        return z
    factors = torch.randn(n_rows, _whole(1, max(1, min(n, 8)), g), generator=g)
    loads = torch.randn(factors.shape[1], n, generator=g) / math.sqrt(factors.shape[1])
    own = 0.1 + 1.2 * torch.rand(n, generator=g) * _share(g)
    return _standard(factors @ loads + own * z)


def _activated(u: Tensor, g: torch.Generator) -> Tensor:
    """A nonlinearity for each column, of one or of many kinds in a layer."""
    shape = (u.shape[1],) if _share(g) < 0.5 else (1,)
    kind = torch.rand(shape, generator=g)
    out = torch.where(kind < 0.4, torch.tanh(1.5 * u), u)
    out = torch.where((kind >= 0.4) & (kind < 0.6), F.relu(u), out)
    out = torch.where((kind >= 0.6) & (kind < 0.68), torch.sin(1.5 * u), out)
    out = torch.where((kind >= 0.68) & (kind < 0.76), u.abs(), out)
    out = torch.where((kind >= 0.76) & (kind < 0.84), (u > 0).to(u.dtype) * 2 - 1 + 0.3 * u, out)
    return torch.where((kind >= 0.84) & (kind < 0.9), torch.exp(-(u**2)), out)


def _standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / (x.std(0) + 1e-3)


def _share(g: torch.Generator) -> float:
    return float(torch.rand((), generator=g))


def _whole(low: int, high: int, g: torch.Generator) -> int:
    """A whole number from ``low`` to ``high``, small ones more often (log-uniform)."""
    u = _share(g)
    return min(high, int(low * ((high + 1) / low) ** u))
