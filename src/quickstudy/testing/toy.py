"""Small tasks that any learner should solve, and small learners to solve them."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from quickstudy.algorithms import ALGORITHMS
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.learner import AbstractLearner
from quickstudy.core.rng import generator, seed_everything
from quickstudy.core.types import Classes, Episode, Examples, Target
from quickstudy.encoders.mlp import MLP


def toy_episode(
    *,
    n_tasks: int = 3,
    n_way: int = 4,
    n_shot: int | Sequence[int] = 2,
    n_query: int = 3,
    shape: tuple[int, ...] = (6,),
    target: Target | None = None,
    seed: int = 0,
) -> Episode:
    """Tasks that are easy to learn from their support and impossible to answer without it, in
    random order.

    Classes are tight, distant clusters (of coarse patterns where the examples are images). Numbers
    are a shallow sine wave, the same for all tasks, on a level of the task's own, so that an answer
    that ignores the support is far off.
    Task ``t`` depends on the other arguments alone, not on ``n_tasks``.

    Args:
        n_tasks: ``T``.
        n_way: classes; for a regression, ``n_way * n_shot`` examples support a task.
        n_shot: support examples per class; for unequal shots one number per class, which task ``t``
            takes rotated by ``t``.
        n_query: queries per class.
        shape: of one example: a vector's length, or channels, height and width of an image.
        target: ``Reals(dim)`` for a regression; ``Classes(n_way)`` if None.
        seed: another seed, other tasks of the same kind.

    Example:
        >>> episode = toy_episode(n_way=3, n_shot=(1, 2, 3))
        >>> episode.support.x.shape, episode.support.y[1].bincount().tolist()
        (torch.Size([3, 6, 6]), [3, 1, 2])

    Raises:
        ConfigError: when ``n_shot`` has another number of classes than ``n_way``.
    """
    wanted = Classes(n_way) if target is None else target
    shots = [n_shot] * n_way if isinstance(n_shot, int) else list(n_shot)
    if len(shots) != n_way:
        raise ConfigError(
            f"n_shot must be one number, or one per class: {n_way} numbers for n_way={n_way}, got "
            f"{len(shots)}."
        )
    supports, queries = [], []
    for t in range(n_tasks):
        g = generator("toy", seed, t)
        labels = [
            _in_random_order(shots[-t % n_way :] + shots[: -t % n_way], g),
            _in_random_order([n_query] * n_way, g),
        ]
        draw = _clusters if isinstance(wanted, Classes) else _waves
        support, query = draw(labels, shape, wanted.width, g)
        supports.append(support)
        queries.append(query)
    return Episode(_stack(supports), _stack(queries), wanted)


def toy_learner(
    name: str, *, n_out: int = 4, in_dim: int = 6, **options: Any
) -> AbstractLearner[Any]:
    """An entry of ``ALGORITHMS`` on a small fully connected encoder; the same weights at every
    call.

    Args:
        name: the entry.
        n_out: for builders that ask for it: the way, or the dimension of a regression target.
        in_dim: length of an input vector, and of a semantic vector for builders that ask for it.
        options: further arguments of the builder.

    Raises:
        ConfigError: when no algorithm has this name.

    Example:
        >>> toy_learner("protonet")(toy_episode()).shape
        torch.Size([3, 12, 4])
    """
    if name not in ALGORITHMS:
        near = did_you_mean(name, ALGORITHMS, listed_by="`quickstudy list algorithms`")
        raise ConfigError(f"No algorithm is called '{name}'. {near}")
    builder = ALGORITHMS[name]
    given = {"n_out": n_out, "semantic_dim": in_dim, "filters": 16}
    width = {
        name: given[name] for name in given.keys() & inspect.signature(builder).parameters.keys()
    }
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        seed_everything("toy", name)
        return builder(MLP(in_dim, widths=(16, 16)), **{**width, **options})


def _in_random_order(per_class: Sequence[int], g: torch.Generator) -> Int[Tensor, " N"]:
    y = torch.arange(len(per_class)).repeat_interleave(torch.tensor(per_class))
    return y[torch.randperm(len(y), generator=g)]


def _clusters(
    labels: list[Tensor], shape: tuple[int, ...], n_way: int, g: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    if len(shape) == 3:
        coarse = torch.randn(n_way, shape[0], 4, 4, generator=g, dtype=torch.float32)
        centres = F.interpolate(coarse, shape[1:])  # [C *S]
    else:
        centres = torch.randn(n_way, *shape, generator=g, dtype=torch.float32)
    return [
        (3 * centres[y] + 0.3 * torch.randn(len(y), *shape, generator=g, dtype=torch.float32), y)
        for y in labels
    ]


def _waves(
    labels: list[Tensor], shape: tuple[int, ...], dim: int, g: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    level, phase = 2 * torch.randn(dim, generator=g, dtype=torch.float32), torch.arange(dim)
    drawn = [torch.randn(len(y), *shape, generator=g, dtype=torch.float32) for y in labels]
    # The sum of independent normal numbers over the root of their count is standard normal,
    # whatever the shape.
    return [
        (
            x,
            level
            + 0.5
            * torch.sin(x.flatten(1).sum(1, keepdim=True) / math.sqrt(math.prod(shape)) + phase),
        )
        for x in drawn
    ]


def _stack(tasks: list[tuple[Tensor, Tensor]]) -> Examples:
    x, y = zip(*tasks, strict=True)
    return Examples(torch.stack(x), torch.stack(y))
