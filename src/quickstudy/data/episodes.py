"""Episodes drawn from labelled examples. Task ``i`` depends on (data set, split, seed, i) alone."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from quickstudy.core.errors import EpisodeError
from quickstudy.core.rng import uniform, words
from quickstudy.core.tasks import AbstractTasks, Setting
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.data.class_index import ClassDataset


class Episodes(AbstractTasks):
    """N-way K-shot tasks: classes drawn without replacement and numbered in random order, then examples of each, in random order.

    Args:
        data: the examples.
        setting: n_way, n_shot and n_query (both per class).
        seed: of the stream.

    Raises:
        EpisodeError: when there are too few classes, or a class has too few examples.
    """

    def __init__(self, data: ClassDataset, setting: Setting, *, seed: int = 0) -> None:
        self.dataset, self.setting, self.seed = data, setting, seed
        self.data, self.split, self.split_hash = data.name, data.split, data.split_hash
        if setting.n_way < 1:
            raise EpisodeError(f"{data.name} holds classes, so n_way must be at least 1, got {setting.n_way}.")
        if setting.n_way > len(data.index):
            raise EpisodeError(
                f"{data.name}/{data.split} has {len(data.index)} classes but an episode needs n_way = {setting.n_way}. Lower n_way, or add classes."
            )
        need, least = setting.n_shot + setting.n_query, int(data.index.counts.argmin())
        if data.index.counts[least] < need:
            raise EpisodeError(
                f"class '{data.index.names[least]}' has {data.index.counts[least]} examples but an episode needs n_shot + n_query = "
                f"{setting.n_shot} + {setting.n_query} = {need}. Lower n_shot or n_query, or load the data with min_per_class={need}."
            )

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.dataset.to(device), self.setting, seed=self.seed)

    def batch(self, numbers: Sequence[int]) -> Episode:
        rows = np.stack([self._draw(i) for i in numbers])  # [T C K+Q]
        s = self.setting
        support, query = _split(rows, s.n_shot)
        order_s, order_q = (self._orders(numbers, s.n_way * n, part) for n, part in ((s.n_shot, "support"), (s.n_query, "query")))
        y = np.arange(s.n_way)
        device = self.dataset.x.device

        def examples(rows: NDArray[np.int64], n: int, order: NDArray[np.int64]) -> Examples:
            labels = torch.from_numpy(np.repeat(y, n)[order]).to(device)  # [T C·n]
            return Examples(self.dataset.gather(np.take_along_axis(rows, order, 1)), labels)

        return Episode(examples(support, s.n_shot, order_s), examples(query, s.n_query, order_q), Classes(s.n_way))

    def _draw(self, i: int) -> NDArray[np.int64]:
        """The rows of task ``i``, class by class: [C K+Q]."""
        s, index = self.setting, self.dataset.index
        classes = _first(words(len(index), *_key(self, "classes", i)), s.n_way)
        counts = index.counts[classes]
        draws = words(s.n_way * int(index.counts.max()), *_key(self, "examples", i)).reshape(s.n_way, -1)
        draws = np.where(np.arange(draws.shape[1]) < counts[:, None], draws >> np.uint64(1), np.uint64(2**64 - 1))
        return index.rows(classes, np.argsort(draws, 1, kind="stable")[:, : s.n_shot + s.n_query])

    def _orders(self, numbers: Sequence[int], n: int, part: str) -> NDArray[np.int64]:
        return np.stack([np.argsort(words(n, *_key(self, part, i)), kind="stable") for i in numbers])


class VariableEpisodes(AbstractTasks):
    """Tasks whose way and shots vary as in Meta-Dataset, one at a time.

    way ~ U{5 … min(max_way, classes)}; queries per class q = min(10, ⌊min n_c / 2⌋); R_c = n_c − q;
    support size = min(500, Σ_c ⌈β min(100, R_c)⌉) with β ~ U(0, 1]; class c gets a share proportional to n_c·exp(u_c),
    u_c ~ U(log ½, log 2): k_c = min(⌊share_c · (size − way)⌋ + 1, R_c).

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
                f"Variable episodes need max_way ≥ 5 and at least 5 classes of at least 2 examples; {data.name}/{data.split} has "
                f"{len(data.index)} classes, the smallest of {data.index.counts.min()}, and max_way is {max_way}."
            )
        self.setting = Setting(n_way=min(max_way, len(data.index)), n_shot=100, n_query=10)

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.dataset.to(device), max_way=self.max_way, seed=self.seed)

    def batch(self, numbers: Sequence[int]) -> Episode:
        if len(numbers) != 1:
            raise EpisodeError(f"Tasks of varying way come one at a time, but {len(numbers)} were asked for. Use batches(numbers, 1).")
        (i,) = numbers
        index = self.dataset.index
        u = uniform(2, *_key(self, "size", i))
        way = 5 + int(u[0] * (self.setting.n_way - 4))
        classes = _first(words(len(index), *_key(self, "classes", i)), way)
        shots, n_query = shots_of(index.counts[classes], beta=1 - u[1], u=uniform(way, *_key(self, "shares", i)))
        draws = [
            np.argsort(words(int(n), *_key(self, "examples", i, str(c))), kind="stable")
            for c, n in zip(classes, index.counts[classes], strict=True)
        ]
        support = np.concatenate([index.rows_of(c)[d[n_query : n_query + k]] for c, d, k in zip(classes, draws, shots, strict=True)])
        query = np.concatenate([index.rows_of(c)[d[:n_query]] for c, d in zip(classes, draws, strict=True)])
        device = self.dataset.x.device

        def examples(rows: NDArray[np.int64], labels: NDArray[np.int64], part: str) -> Examples:
            order = np.argsort(words(len(rows), *_key(self, part, i)), kind="stable")
            return Examples(self.dataset.gather(rows[order])[None], torch.from_numpy(labels[order])[None].to(device))

        every = np.arange(way)
        return Episode(
            examples(support, np.repeat(every, shots), "support"), examples(query, np.repeat(every, n_query), "query"), Classes(way)
        )


def shots_of(counts: NDArray[np.integer], *, beta: float, u: NDArray[np.floating]) -> tuple[NDArray[np.int64], int]:
    """Meta-Dataset's law: shots of each class, and queries per class, from the class sizes.

    Args:
        counts: examples of each class of the task.
        beta: the draw from (0, 1] that sets the support size.
        u: one draw from [0, 1) per class, that sets the imbalance.

    >>> shots_of(np.array([20, 20, 20, 20, 20]), beta=0.5, u=np.full(5, 0.5))
    (array([5, 5, 5, 5, 5]), 10)
    """
    way, n_query = len(counts), min(10, int(counts.min()) // 2)
    remaining = counts - n_query
    size = min(500, int(np.ceil(beta * np.minimum(100, remaining)).sum()))
    share = counts * np.exp(np.log(0.5) + u * (np.log(2) - np.log(0.5)))
    share = share / share.sum()
    return np.minimum(np.floor(share * max(0, size - way)).astype(np.int64) + 1, remaining), n_query


def _key(tasks: AbstractTasks, what: str, i: int, *more: str) -> tuple[str | int, ...]:
    return ("episodes", tasks.data, tasks.split, tasks.split_hash, tasks.seed, what, i, *more)


def _first(draws: NDArray[np.uint64], n: int) -> NDArray[np.int64]:
    """The positions of the ``n`` smallest draws, smallest first: ``n`` things chosen without replacement, in random order."""
    few = np.argpartition(draws, n - 1)[:n]
    return few[np.argsort(draws[few], kind="stable")]


def _split(rows: NDArray[np.int64], n_shot: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    t = len(rows)
    return rows[:, :, :n_shot].reshape(t, -1), rows[:, :, n_shot:].reshape(t, -1)
