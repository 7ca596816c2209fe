"""From the logits of a mixture to the edges of one cell, and cells drawn at random to compare
with.
"""

from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import uniform
from quickstudy.core.tasks import AbstractTasks
from quickstudy.encoders.cell import LOGITS, Edge, MixedCellNet, pairs
from quickstudy.encoders.operations import OPERATIONS
from quickstudy.inner.learner import GradientLearner

Architecture: TypeAlias = tuple[Edge, ...]
_CHOICES = [name for name in OPERATIONS if name != "zero"]


def decode(logits: Float[Tensor, "E O"], nodes: int, *, inputs: int = 2) -> Architecture:
    """Of each edge its strongest operation but ``zero``; of each node its ``inputs`` strongest
    edges.

    Args:
        logits: a row for each of `quickstudy.encoders.cell.pairs`, a column for each operation.
        nodes: of the cell.
        inputs: edges into each node, at most.

    >>> decode(
    ...     torch.tensor([[5.0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 0, 0, 3, 0], [0, 0, 0, 1, 0, 0, 0]]), 2
    ... )
    ((0, 1, 'conv3x3'), (0, 2, 'identity'), (1, 2, 'max_pool3x3'))

    Paper: Liu, Simonyan, Yang 2019, arXiv:1806.09055, section 2.4.
    """
    strength = logits.detach().softmax(1)[:, [list(OPERATIONS).index(name) for name in _CHOICES]]
    best, chosen = strength.max(1)
    known = pairs(nodes)
    if len(known) != len(logits):
        raise ConfigError(
            f"A cell of {nodes} nodes has {len(known)} edges, but there are logits of "
            f"{len(logits)}."
        )
    edges: list[Edge] = []
    for j in range(1, nodes + 1):
        into = [k for k, (_, to) in enumerate(known) if to == j]
        kept = sorted(into, key=lambda k: -float(best[k]))[:inputs]
        edges += [(known[k][0], j, _CHOICES[int(chosen[k])]) for k in sorted(kept)]
    return tuple(edges)


def random_cell(nodes: int, *, seed: int, inputs: int = 2) -> Architecture:
    """As many edges as `decode` keeps, with sources and operations drawn evenly: the control that a
    search must beat.

    >>> random_cell(2, seed=0) == random_cell(2, seed=0)
    True
    """
    u, edges = iter(uniform(nodes * (nodes + 2 * inputs), "cell", seed)), list[Edge]()
    for j in range(1, nodes + 1):
        order = np.argsort([next(u) for _ in range(j)])[:inputs]
        edges += [(int(i), j, _CHOICES[int(next(u) * len(_CHOICES))]) for i in sorted(order)]
    return tuple(edges)


def mixed_cell_of(learner: Any) -> MixedCellNet:
    """The mixture in a learner.

    Raises:
        ConfigError: if there is none.
    """
    encoder = getattr(learner, "encoder", None)
    if not isinstance(encoder, MixedCellNet):
        raise ConfigError(
            f"{type(learner).__name__} has no cell that is searched for. Give a run on the encoder "
            "mixed_cell, as of omniglot-t-nas."
        )
    return encoder


def adapted_logits(
    learner: GradientLearner, tasks: AbstractTasks, *, n_tasks: int
) -> Float[Tensor, "T E O"]:
    """The logits after adaptation to each of the first tasks; those of all tasks where only the
    outer loop moves them.
    """
    encoder = mixed_cell_of(learner)
    if LOGITS not in learner.fast_names:
        return encoder.logits.detach()[None]
    learner.eval()
    with torch.no_grad():
        adapted = [
            learner.adapt(e.support, e.target, e.query.x if learner.traits.transductive else None)[
                0
            ]
            for e in tasks.batches(range(n_tasks), 1)
        ]
    return torch.cat([fast[LOGITS] for fast in adapted])
