"""Synthetic tables: the tasks that the tabular in-context learner is fitted to."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, DataError, EpisodeError, did_you_mean
from quickstudy.core.rng import generator, uniform
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.data.priors.mechanisms import MECHANISMS, draw_mechanism

_SPLITS = ("train", "val", "test")
_VERSION = 2


@dataclass(frozen=True)
class TableSizes:
    """Between what sizes the tables lie; sizes are drawn log-uniformly.

    Args:
        rows: labelled rows of a task, least and most.
        columns: least and most.
        classes: least and most; half of the classification tasks have two.
        queries: rows of a task that are asked for.
        regression: the share of tasks whose target is a number.
        block: so many tasks in a row (0 … block − 1, block … 2 block − 1, …) share their sizes, so
            that they fit in one batch.

    Raises:
        ConfigError: for sizes that make no task.
    """

    rows: tuple[int, int] = (8, 200)
    columns: tuple[int, int] = (2, 24)
    classes: tuple[int, int] = (2, 10)
    queries: int = 32
    regression: float = 0.3
    block: int = 16

    def __post_init__(self) -> None:
        ranges = (self.rows, self.columns, self.classes)
        if any(low > high for low, high in ranges) or min(low for low, _ in ranges) < 1:
            raise ConfigError(f"Sizes go from a least to a most, both at least 1, got {self!r}.")
        if self.classes[0] < 2 or self.rows[0] < self.classes[0] or self.rows[0] < 4:
            raise ConfigError(
                "A table needs at least 4 labelled rows, 2 classes and a row of each, got "
                f"rows={self.rows} and classes={self.classes}."
            )
        if self.queries < 1 or self.block < 1 or not 0 <= self.regression <= 1:
            raise ConfigError(
                "queries and block must be at least 1 and regression a share from 0 to 1, got "
                f"{self.queries}, {self.block} and {self.regression}."
            )


@dataclass(frozen=True)
class TaskSize:
    """The size of one task: labelled rows, columns and classes (0 = regression)."""

    rows: int
    columns: int
    classes: int


class TablePrior(Described, AbstractData):
    """Random tables: random structural causal models, forests, mixtures and additive models, with
    columns as real tables have them.

    Mechanisms are in `quickstudy.data.priors.mechanisms`. Columns are continuous, rounded, skewed,
    binary or categories with codes in random order; some carry nothing, some have values missing
    (NaN). Classes are cut from one output (ordered) or taken as the largest of several (nominal),
    unbalanced, and always in the support.

    Args:
        sizes: of the tables.

    Example:
        >>> tasks = TablePrior().tasks("val", Setting(n_way=2, n_shot=10, n_query=20))
        >>> episode = tasks.batch([0])
        >>> episode.support.x.shape[:2], episode.target
        (torch.Size([1, 20]), Classes(n=2))
    """

    name, shape = "table_prior", ()

    def __init__(self, *, sizes: TableSizes | None = None) -> None:
        self.sizes = sizes or TableSizes()

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        """Tables of a fixed size: ``n_way`` classes (0 = regression) with ``n_shot`` labelled rows
        per class (or in all) and ``n_query`` queries likewise.
        """
        n = max(setting.n_way, 1)
        classes = (setting.n_way, setting.n_way) if setting.n_way else self.sizes.classes
        sizes = TableSizes(
            rows=(setting.n_shot * n, setting.n_shot * n),
            columns=self.sizes.columns,
            classes=classes,
            queries=setting.n_query * n,
            regression=0.0 if setting.n_way else 1.0,
            block=self.sizes.block,
        )
        return PriorTables(split, sizes, seed=seed)


class PriorTables(AbstractTasks):
    """The stream of synthetic tables. Task ``i`` depends on (split, sizes, seed, i) alone.

    Args:
        split: train, val or test.
        sizes: of the tables.
        seed: of the stream.

    Example:
        >>> episode = PriorTables("train", TableSizes(block=4)).batch([0, 1, 2, 3])
        >>> episode.query.x.shape[1]
        32

    Raises:
        DataError: for an unknown split.
    """

    uniform = False

    def __init__(self, split: str, sizes: TableSizes, *, seed: int = 0) -> None:
        if split not in _SPLITS:
            raise DataError(f"table_prior has no split '{split}'. {did_you_mean(split, _SPLITS)}")
        self.data, self.split, self.sizes, self.seed = "table_prior", split, sizes, seed
        self.block = sizes.block
        shares = {name: share for name, (share, _) in MECHANISMS.items()}
        law = f"tables {_VERSION} {shares} {sizes}"
        self.split_hash = hashlib.sha256(law.encode()).hexdigest()[:12]
        self.setting = Setting(n_way=0, n_shot=sizes.rows[1], n_query=sizes.queries)

    def size(self, number: int) -> TaskSize:
        """The size of a task, which it shares with the others of its block."""
        sizes = self.sizes
        u = uniform(5, self.data, self.split, self.seed, "size", number // sizes.block)
        rows = _log_uniform(u[0], sizes.rows)
        columns = _log_uniform(u[1], sizes.columns)
        if u[2] < sizes.regression:
            return TaskSize(rows, columns, 0)
        most = min(sizes.classes[1], rows // 2 if rows // 2 >= sizes.classes[0] else rows)
        if u[3] < 0.5 and sizes.classes[0] <= 2:
            return TaskSize(rows, columns, 2)
        return TaskSize(rows, columns, _log_uniform(u[4], (sizes.classes[0], most)))

    def batch(self, numbers: Sequence[int]) -> Episode:
        """The tasks with these numbers, which must be of one block or of equal sizes.

        Raises:
            EpisodeError: when their sizes differ.
        """
        all_sizes = {self.size(int(i)) for i in numbers}
        if len(all_sizes) != 1:
            raise EpisodeError(
                f"Tasks of {len(all_sizes)} sizes do not fit in one batch, e.g. "
                f"{sorted(map(str, all_sizes))[:2]}. Take numbers of one block of "
                f"{self.sizes.block}, or one task at a time."
            )
        size = all_sizes.pop()
        x, y = zip(*(self._task(int(i), size) for i in numbers), strict=True)
        xs, ys = torch.stack(x), torch.stack(y)
        n = size.rows
        target = Classes(size.classes) if size.classes else Reals(1)
        return Episode(Examples(xs[:, :n], ys[:, :n]), Examples(xs[:, n:], ys[:, n:]), target)

    def _task(self, number: int, size: TaskSize) -> tuple[Tensor, Tensor]:
        g = generator(self.data, self.split, self.seed, "task", number)
        n = size.rows + self.sizes.queries
        nominal = size.classes > 2 and _share(g) < 0.6
        x, out = draw_mechanism(n, size.columns, size.classes if nominal else 1, g)
        noise = 0.0 if _share(g) < 0.4 else 0.02 * 25.0 ** _share(g)
        out = out + noise * torch.randn(out.shape, generator=g)
        x = _dressed(x, g)
        if not size.classes:
            y = _number(out[:, 0], g)
            return x, y[:, None]
        y = _nominal(out, g) if nominal else _ordered(out[:, 0], size.classes, g)
        y = torch.randperm(size.classes, generator=g)[y]
        order = _split(y, size, g)
        return x[order], y[order]


def _dressed(x: Tensor, g: torch.Generator) -> Tensor:
    """Columns as real tables have them: categories, steps, skew, columns without meaning, holes."""
    n, n_columns = x.shape
    discrete = _share(g) if _share(g) < 0.6 else 0.0
    kind = torch.rand(n_columns, generator=g)
    is_discrete = torch.rand(n_columns, generator=g) < discrete
    useless = _share(g) * 0.5 if _share(g) < 0.3 else 0.0
    is_useless = torch.rand(n_columns, generator=g) < useless
    holes = _share(g) * 0.4 if _share(g) < 0.2 else 0.0
    columns = []
    for f in range(n_columns):
        v, k = x[:, f], float(kind[f])
        if is_useless[f]:
            v = v[torch.randperm(n, generator=g)]
        if is_discrete[f]:
            v = _discrete(v, k, g)
        elif k < 0.15:
            v = (0.3 + 0.9 * _share(g)) * v
            v = v.clamp(max=5).exp()
        elif k < 0.25:
            v = (v * (1 + 4 * _share(g))).round()
        elif k < 0.3:
            v = v.sign() * v.abs() ** (1.5 + _share(g))
        elif k < 0.35:  # many zeros, as amounts have
            v = (v - _share(g)).clamp(min=0)
        columns.append(v)
    x = torch.stack(columns, 1)
    if holes:
        rate = holes * 2 * torch.rand(n_columns, generator=g)
        rate = rate * (torch.rand(n_columns, generator=g) < 0.6)
        x = torch.where(torch.rand(x.shape, generator=g) < rate, torch.nan, x)
    return x


def _discrete(v: Tensor, kind: float, g: torch.Generator) -> Tensor:
    """Two values, ordered levels, or categories whose codes say nothing."""
    n_levels = 2 if kind < 0.45 else 2 + int(_share(g) ** 2 * 9)
    borders = v[torch.randint(len(v), (n_levels - 1,), generator=g)].sort().values
    level = torch.searchsorted(borders, v.contiguous())
    if kind > 0.65:
        level = torch.randperm(n_levels, generator=g)[level]
    return level.to(v.dtype)


def _number(y: Tensor, g: torch.Generator) -> Tensor:
    kind = _share(g)
    if kind < 0.2:
        y = (y * (0.3 + 0.7 * _share(g))).clamp(max=5).exp()
    elif kind < 0.3:
        y = (y * (1 + 3 * _share(g))).round()
    elif kind < 0.35:
        y = y.sign() * y.abs() ** 1.5
    return (y - y.mean()) / (y.std() + 1e-3)


def _ordered(v: Tensor, n_classes: int, g: torch.Generator) -> Tensor:
    """Classes between random borders: from even to very unbalanced, none with fewer than two
    rows.
    """
    n, least = len(v), 2
    even = torch.arange(1, n_classes) / n_classes
    drawn = torch.rand(n_classes - 1, generator=g).sort().values
    mix = _share(g)
    spare = n - least * n_classes
    cuts = ((mix * drawn + (1 - mix) * even) * spare).round().long()
    cuts = cuts + least * torch.arange(1, n_classes)
    rank = v.argsort().argsort()
    return torch.searchsorted(cuts, rank, right=True)


def _nominal(out: Tensor, g: torch.Generator) -> Tensor:
    """The largest output; a class that would have fewer than two rows gets those that are nearest
    to it.
    """
    out = out + _share(g) * torch.randn(out.shape[1], generator=g)
    y = out.argmax(1)
    for c in range(out.shape[1]):
        lacking = 2 - int((y == c).sum())
        if lacking > 0:
            counts = y.bincount(minlength=out.shape[1])
            margin = out[:, c] - out.gather(1, y[:, None])[:, 0]
            margin = torch.where(counts[y] > 2, margin, -torch.inf)
            for row in margin.topk(lacking).indices.tolist():
                y[row] = c
    return y


def _split(y: Tensor, size: TaskSize, g: torch.Generator) -> Tensor:
    """An order of the rows whose first ``size.rows`` hold every class; in half of the tasks as
    evenly as the rows allow.
    """
    order = torch.randperm(len(y), generator=g)
    shuffled = y[order]
    same = (shuffled[:, None] == shuffled[None]).tril(-1)
    nth = same.sum(1)  # how many rows of its class come before a row
    first = nth if _share(g) < 0.5 else (nth > 0).long()
    key = first * len(y) + torch.arange(len(y))
    order = order[key.argsort()]
    chosen = order[: size.rows]
    rest = order[size.rows :]
    return torch.cat(
        (
            chosen[torch.randperm(len(chosen), generator=g)],
            rest[torch.randperm(len(rest), generator=g)],
        )
    )


def _share(g: torch.Generator) -> float:
    return float(torch.rand((), generator=g))


def _log_uniform(u: float, bounds: tuple[int, int]) -> int:
    low, high = bounds
    return min(high, int(low * ((high + 1) / low) ** u))
