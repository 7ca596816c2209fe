"""Episodes drawn from labelled examples. Task ``i`` depends on (data set, split, seed, i) alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Self

import numpy as np
import torch

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import EpisodeError
from quickstudy.core.rng import uniform, words
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.core.words import counted
from quickstudy.data.class_index import ClassDataset


class Episodes(AbstractTasks):
    """N-way K-shot tasks: classes drawn without replacement and numbered in random order, then
    examples of each, in random order.

    Unlabelled examples and distractors, where the setting asks for them, are drawn beside: support
    and queries stay what they are without them.
    Queries that are spread unevenly are spread by the inverse distribution function of the gamma
    distribution, by largest remainders.

    Args:
        data: the examples.
        setting: the size of a task.
        seed: of the stream.

    Raises:
        TaskKindError: for a setting without classes.
        EpisodeError: when there are too few classes, or a class has too few examples.
    """

    def __init__(self, data: ClassDataset, setting: Setting, *, seed: int = 0) -> None:
        self.dataset, self.setting, self.seed = data, setting, seed
        self.data, self.split, self.split_hash = data.name, data.split, data.split_hash
        setting.check_classes(data.name)
        s, n_classes = setting, setting.n_way + setting.n_distractors
        if n_classes > len(data.index):
            also = f" + n_distractors = {s.n_way} + {s.n_distractors}" if s.n_distractors else ""
            raise EpisodeError(
                f"{data.name}/{data.split} has {counted(len(data.index), 'class', 'classes')} "
                f"but an episode needs "
                f"n_way{also} = {n_classes}. Lower n_way, or add classes."
            )
        least = int(data.index.counts.argmin())
        labelled = np.ceil(s.labelled * data.index.counts - 1e-9).astype(np.int64)
        self._labelled = None if s.labelled == 1 else _labelled_rows(data, labelled)
        # one class may get all queries
        of_class = s.n_query if not s.alpha else s.n_way * s.n_query
        need = s.n_shot + of_class
        if labelled[least] < need:
            share = f" ({labelled[least]} of them labelled)" if s.labelled < 1 else ""
            name = "n_query" if not s.alpha else "n_way · n_query, which may all be of one class,"
            raise EpisodeError(
                f"class '{data.index.names[least]}' has "
                f"{counted(data.index.counts[least], 'example')}{share} "
                f"but an episode needs n_shot + {name} = "
                f"{s.n_shot} + {of_class} = {need}. Lower n_shot or n_query, or load the data with "
                f"min_per_class={need}."
            )
        left_over = data.index.counts[least] - (labelled[least] if s.labelled < 1 else need)
        if left_over < s.n_unlabelled:
            raise EpisodeError(
                f"class '{data.index.names[least]}' has "
                f"{counted(data.index.counts[least], 'example')}, which "
                f"leaves {left_over} for n_unlabelled = {s.n_unlabelled}. "
                "Lower n_unlabelled or the share that is labelled."
            )

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.dataset.to(device), self.setting, seed=self.seed)

    def batch(self, numbers: Sequence[int]) -> Episode:
        s, device = self.setting, self.dataset.x.device
        drawn = [self._draw(i) for i in numbers]
        orders = {
            part: self._orders(numbers, s.n_way * n, part)
            for part, n in (("support", s.n_shot), ("query", s.n_query))
        }
        y = np.arange(s.n_way)

        def examples(
            rows: list[NDArray[np.int64]], labels: list[NDArray[np.int64]], part: str
        ) -> Examples:
            # [T C·n]
            x, y = (
                np.take_along_axis(np.stack(values), orders[part], 1) for values in (rows, labels)
            )
            return Examples(self.dataset.gather(x), torch.from_numpy(y).to(device))

        support = examples(
            [d.support for d in drawn], [np.repeat(y, s.n_shot)] * len(drawn), "support"
        )
        query = examples(
            [d.query for d in drawn], [np.repeat(y, d.queries) for d in drawn], "query"
        )
        if s.n_unlabelled:
            rows = np.stack([d.unlabelled for d in drawn])
            order = self._orders(numbers, rows.shape[1], "unlabelled")
            support = replace(
                support, unlabelled=self.dataset.gather(np.take_along_axis(rows, order, 1))
            )
        classes = torch.from_numpy(np.stack([d.classes for d in drawn])).to(device)
        return Episode(support, query, Classes(s.n_way), classes)

    def _draw(self, i: int) -> "_Drawn":
        s, index = self.setting, self.dataset.index
        every = _first(words(len(index), *_key(self, "classes", i)), s.n_way + s.n_distractors)
        classes, width = every[: s.n_way], int(index.counts.max())
        draws = words(len(every) * width, *_key(self, "examples", i)).reshape(len(every), width)
        draws = np.where(
            np.arange(width) < index.counts[every][:, None],
            draws >> np.uint64(1),
            np.uint64(2**64 - 1),
        )
        if self._labelled is not None:  # the labelled ones come first
            draws = np.where(self._labelled[every], draws, draws | np.uint64(2**63))
        order = np.argsort(draws, 1, kind="stable")
        k, queries = s.n_shot, np.full(s.n_way, s.n_query)
        if s.alpha:
            queries = _spread(
                uniform(s.n_way, *_key(self, "alpha", i)), s.alpha, s.n_way * s.n_query
            )
        taken = (np.arange(width) >= k) & (np.arange(width) < k + queries[:, None])
        query = index.rows(np.repeat(classes, queries), order[: s.n_way][taken][:, None]).ravel()
        unlabelled = np.empty(0, np.int64)
        if s.n_unlabelled:
            used = (
                np.r_[k + queries, np.zeros(s.n_distractors, np.int64)]
                if self._labelled is None
                else self._labelled[every].sum(1)
            )
            unlabelled = index.rows(
                every, np.take_along_axis(order, used[:, None] + np.arange(s.n_unlabelled), 1)
            ).ravel()
        return _Drawn(
            classes, index.rows(classes, order[: s.n_way, :k]).ravel(), query, queries, unlabelled
        )

    def _orders(self, numbers: Sequence[int], n: int, part: str) -> NDArray[np.int64]:
        return np.stack(
            [np.argsort(words(n, *_key(self, part, i)), kind="stable") for i in numbers]
        )


_QUERIES = 10  # per class at most, in tasks of varying size
_SUPPORT = 500  # examples at most in the support of one


class VariableEpisodes(AbstractTasks):
    """Tasks whose way and shots vary as in Meta-Dataset, one at a time.

    way ~ U{5 … min(max_way, classes)}; queries per class q = min(10, ⌊min n_c / 2⌋); R_c = n_c − q;
    support size = min(500, Σ_c ⌈β min(100, R_c)⌉) with β ~ U(0, 1]; class c gets a share
    proportional to n_c·exp(u_c), u_c ~ U(log ½, log 2): k_c = min(⌊share_c · (size − way)⌋ + 1,
    R_c).

    Args:
        data: the examples; at least 5 classes of at least 2 examples.
        max_way: the largest way (50 in the paper).
        seed: of the stream.

    Paper: Triantafillou et al. 2020, arXiv:1903.03096, appendix A.2; without its class hierarchies.
    """

    uniform = False

    def __init__(self, data: ClassDataset, *, max_way: int = 50, seed: int = 0) -> None:
        self.dataset, self.seed, self.max_way = data, seed, max_way
        self.data, self.split, self.split_hash = data.name, data.split, data.split_hash
        if len(data.index) < 5 or max_way < 5 or data.index.counts.min() < 2:
            raise EpisodeError(
                "Variable episodes need max_way ≥ 5 and at least 5 classes of at least 2 "
                f"examples; {data.name}/{data.split} has "
                f"{counted(len(data.index), 'class', 'classes')}, the smallest of "
                f"{data.index.counts.min()}, and "
                f"max_way is {max_way}."
            )
        # The most that a task can have, which a report says as "up to": see `shots_of`.
        most, least = int(data.index.counts.max()), int(data.index.counts.min())
        self.setting = Setting(
            n_way=min(max_way, len(data.index)),
            n_shot=min(most - min(_QUERIES, least // 2), _SUPPORT - 4),
            n_query=min(_QUERIES, most // 2),
        )

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.dataset.to(device), max_way=self.max_way, seed=self.seed)

    def batch(self, numbers: Sequence[int]) -> Episode:
        if len(numbers) != 1:
            raise EpisodeError(
                f"Tasks of varying way come one at a time, but {len(numbers)} were asked for. Use "
                "batches(numbers, 1)."
            )
        (i,) = numbers
        index = self.dataset.index
        u = uniform(2, *_key(self, "size", i))
        way = 5 + int(u[0] * (self.setting.n_way - 4))
        classes = _first(words(len(index), *_key(self, "classes", i)), way)
        shots, n_query = shots_of(
            index.counts[classes], beta=1 - u[1], u=uniform(way, *_key(self, "shares", i))
        )
        draws = [
            np.argsort(words(int(n), *_key(self, "examples", i, str(c))), kind="stable")
            for c, n in zip(classes, index.counts[classes], strict=True)
        ]
        support = np.concatenate(
            [
                index.rows_of(c)[d[n_query : n_query + k]]
                for c, d, k in zip(classes, draws, shots, strict=True)
            ]
        )
        query = np.concatenate(
            [index.rows_of(c)[d[:n_query]] for c, d in zip(classes, draws, strict=True)]
        )
        device = self.dataset.x.device

        def examples(rows: NDArray[np.int64], labels: NDArray[np.int64], part: str) -> Examples:
            order = np.argsort(words(len(rows), *_key(self, part, i)), kind="stable")
            return Examples(
                self.dataset.gather(rows[order])[None],
                torch.from_numpy(labels[order])[None].to(device),
            )

        every = np.arange(way)
        return Episode(
            examples(support, np.repeat(every, shots), "support"),
            examples(query, np.repeat(every, n_query), "query"),
            Classes(way),
        )


def shots_of(
    counts: NDArray[np.integer], *, beta: float, u: NDArray[np.floating]
) -> tuple[NDArray[np.int64], int]:
    """Meta-Dataset's law: shots of each class, and queries per class, from the class sizes.

    Args:
        counts: examples of each class of the task.
        beta: the draw from (0, 1] that sets the support size.
        u: one draw from [0, 1) per class, that sets the imbalance.

    >>> shots_of(np.array([20, 20, 20, 20, 20]), beta=0.5, u=np.full(5, 0.5))
    (array([5, 5, 5, 5, 5]), 10)
    """
    way, n_query = len(counts), min(_QUERIES, int(counts.min()) // 2)
    remaining = counts - n_query
    size = min(_SUPPORT, int(np.ceil(beta * np.minimum(100, remaining)).sum()))
    share = counts * np.exp(np.log(0.5) + u * (np.log(2) - np.log(0.5)))
    share = share / share.sum()
    return np.minimum(np.floor(share * max(0, size - way)).astype(np.int64) + 1, remaining), n_query


class _Drawn(NamedTuple):
    """The rows of one task, class by class."""

    classes: NDArray[np.int64]
    support: NDArray[np.int64]
    query: NDArray[np.int64]
    queries: NDArray[np.int64]  # how many of each class
    unlabelled: NDArray[np.int64]


def _labelled_rows(data: ClassDataset, labelled: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which examples of each class are labelled, ``[classes most]``: so many, chosen once and for
    all.
    """
    ranks = [
        np.argsort(np.argsort(words(int(n), "labelled", data.name, name)))
        for n, name in zip(data.index.counts, data.index.names, strict=True)
    ]
    out = np.zeros((len(ranks), int(data.index.counts.max())), bool)
    for c, (rank, n) in enumerate(zip(ranks, labelled, strict=True)):
        out[c, : len(rank)] = rank < n
    return out


def _spread(u: NDArray[np.float64], alpha: float, n: int) -> NDArray[np.int64]:
    """``n`` examples spread over classes by shares from a symmetric Dirichlet distribution: the
    normalised quantiles ``u`` of a gamma distribution.

    >>> int(_spread(np.array([0.1, 0.5, 0.9]), 2.0, 75).sum())
    75
    """
    from scipy.special import gammaincinv

    weight = np.maximum(gammaincinv(alpha, u), 1e-12)
    share = n * weight / weight.sum()
    counts = np.floor(share).astype(np.int64)
    counts[np.argsort(counts - share, kind="stable")[: n - counts.sum()]] += 1
    return counts


def _key(tasks: AbstractTasks, purpose: str, i: int, *more: str) -> tuple[str | int, ...]:
    return ("episodes", tasks.data, tasks.split, tasks.split_hash, tasks.seed, purpose, i, *more)


def _first(draws: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """The positions of the ``n`` smallest draws, smallest first: ``n`` items chosen without
    replacement, in random order.
    """
    few = np.argpartition(draws, n - 1)[:n]
    return few[np.argsort(draws[few], kind="stable")]
