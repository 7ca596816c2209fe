"""Labelled examples in one tensor, and where in it each class stands: drawing an episode is then a
gather.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError
from quickstudy.core.words import counted
from quickstudy.functional.normalise import normalise
from quickstudy.functional.views import quarter_turns


class ClassIndex:
    """For each class, the rows of its examples.

    Args:
        labels: the class of each row, 0 … C−1.
        names: the classes' names, in that order.

    Raises:
        DataError: for a label without a name, two classes of one name, or a class without examples.

    Example:
        >>> index = ClassIndex([1, 0, 1], ["oak", "elm"])
        >>> index.counts.tolist(), index.rows_of(1).tolist()
        ([1, 2], [0, 2])
    """

    def __init__(
        self, labels: Sequence[int] | NDArray[np.integer] | Tensor, names: Sequence[str]
    ) -> None:
        y = np.asarray(labels, dtype=np.int64)
        self.names = tuple(names)
        if len(set(self.names)) != len(self.names):
            twice = sorted({n for n in self.names if self.names.count(n) > 1})[:5]
            raise DataError(
                f"Class names must differ, but these occur twice: {', '.join(twice)}. Rename or "
                "merge them."
            )
        if y.size and (y.min() < 0 or y.max() >= len(self.names)):
            raise DataError(
                f"Labels must lie in 0 … {len(self.names) - 1}, one name each, but they run from "
                f"{y.min()} to {y.max()}."
            )
        self.counts: NDArray[np.int64] = np.bincount(y, minlength=len(self.names))
        if (self.counts == 0).any():
            empty = [self.names[c] for c in np.flatnonzero(self.counts == 0)[:5]]
            raise DataError(
                f"{int((self.counts == 0).sum())} of {len(self.names)} classes have no example: "
                f"{', '.join(empty)}. Leave them out."
            )
        self._order: NDArray[np.int64] = np.argsort(y, kind="stable")
        self._start: NDArray[np.int64] = np.concatenate(([0], np.cumsum(self.counts)[:-1]))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The class of each row."""
        y = np.empty(len(self._order), dtype=np.int64)
        y[self._order] = np.repeat(np.arange(len(self)), self.counts)
        return y

    def rows_of(self, c: int | np.integer) -> NDArray[np.int64]:
        """The rows of class ``c``, in the order of the data."""
        return self._order[self._start[c] : self._start[c] + self.counts[c]]

    def rows(self, classes: NDArray[np.integer], which: NDArray[np.integer]) -> NDArray[np.int64]:
        """Row numbers: example ``which[i, k]`` of class ``classes[i]``."""
        return self._order[self._start[classes][:, None] + which]


@dataclass(frozen=True)
class ClassDataset:
    """Labelled examples of one split, whole in memory.

    Args:
        name, split: as printed with results, e.g. ``omniglot`` and ``vinyals/test``.
        x: images as uint8 (0 … 255) or vectors as floats, one row per example.
        index: which rows belong to which class.
        mean, std: of the channels, in the unit of the examples handed out (images: 0 … 1); what is
            handed out is (x − mean) / std.
    """

    name: str
    split: str
    x: Shaped[Tensor, "M *S"]
    index: ClassIndex
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        n = int(self.index.counts.sum())
        if n != len(self.x):
            raise DataError(
                f"{self.name}: {counted(len(self.x), 'example')} but {counted(n, 'label')}; give "
                f"one label per example."
            )
        for values in (self.mean, self.std):
            if len(values) > 1 and (self.x.ndim != 4 or len(values) != self.x.shape[1]):
                raise DataError(
                    f"{self.name}: {len(values)} means or deviations for examples of shape "
                    f"{tuple(self.x.shape[1:])}; give one, or for images "
                    "one per channel."
                )

    @cached_property
    def split_hash(self) -> str:
        """Twelve hexadecimal digits that name the split: its classes and how many examples each
        has.
        """
        return split_hash(
            {name: int(n) for name, n in zip(self.index.names, self.index.counts, strict=True)}
        )

    def gather(self, rows: NDArray[np.integer]) -> Float[Tensor, "..."]:
        """The examples in these rows, as normalised floats on the device of ``x``."""
        at = torch.from_numpy(np.ascontiguousarray(rows)).to(self.x.device)
        return normalise(self.x[at], self.mean, self.std)

    def to(self, device: torch.device | str) -> "ClassDataset":
        """The same data on another device, where episodes are then gathered."""
        return replace(self, x=self.x.to(device))

    def only(self, classes: Iterable[str], *, split: str) -> "ClassDataset":
        """Some of the classes, as a split of its own.

        Raises:
            DataError: for a class that is not there.
        """
        number = {name: c for c, name in enumerate(self.index.names)}
        chosen = list(classes)
        missing = [c for c in chosen if c not in number]
        if missing:
            raise DataError(
                f"{self.name} has no class {', '.join(map(repr, missing[:5]))} ({len(missing)} "
                "missing). The data or the split is incomplete."
            )
        rows = [self.index.rows_of(number[c]) for c in chosen]
        labels = np.repeat(np.arange(len(chosen)), [len(r) for r in rows])
        return replace(
            self,
            split=split,
            x=self.x[torch.from_numpy(np.concatenate(rows))],
            index=ClassIndex(labels, chosen),
        )

    def joined(self, other: "ClassDataset", *, name: str, split: str) -> "ClassDataset":
        """Both data sets' classes as one set, each called by its data set's name and its own:
        ``omniglot/Greek/character01``.

        Raises:
            DataError: when the examples differ in shape or kind, or are normalised differently.
        """
        if (
            self.x.shape[1:] != other.x.shape[1:]
            or self.x.dtype != other.x.dtype
            or (self.mean, self.std) != (other.mean, other.std)
        ):
            raise DataError(
                f"{self.name} and {other.name} cannot be joined: examples of shape "
                f"{tuple(self.x.shape[1:])} ({self.x.dtype}) and "
                f"{tuple(other.x.shape[1:])} ({other.x.dtype}), or other means and deviations. "
                "Bring them to one form first."
            )
        names = [f"{data.name}/{n}" for data in (self, other) for n in data.index.names]
        labels = np.concatenate([self.index.labels, other.index.labels + len(self.index)])
        return replace(
            self,
            name=name,
            split=split,
            x=torch.cat([self.x, other.x]),
            index=ClassIndex(labels, names),
        )

    def with_rotations(self) -> "ClassDataset":
        """Each class four times: as it is, and turned by 90, 180 and 270 degrees, as new classes.

        Raises:
            DataError: when the examples are not square images.
        """
        if self.x.ndim != 4 or self.x.shape[-1] != self.x.shape[-2]:
            raise DataError(
                f"Only square images can be turned into new classes; {self.name} holds examples of "
                f"shape {tuple(self.x.shape[1:])}."
            )
        labels = self.index.labels
        turned = quarter_turns(self.x, 0)
        names = [
            f"{name}/rot{90 * quarter}" if quarter else name
            for quarter in range(4)
            for name in self.index.names
        ]
        every = np.concatenate([labels + quarter * len(self.index) for quarter in range(4)])
        return replace(self, x=turned, index=ClassIndex(every, names))


def split_hash(classes: Mapping[str, int]) -> str:
    """Twelve hexadecimal digits of SHA-256 over the sorted lines ``class<TAB>count``.

    >>> split_hash({"b": 2, "a": 1}) == split_hash({"a": 1, "b": 2}) != split_hash({"a": 1, "b": 3})
    True
    """
    lines = "".join(f"{name}\t{count}\n" for name, count in sorted(classes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def check_disjoint(splits: Mapping[str, ClassDataset | Sequence[str]]) -> None:
    """Refuse splits (data sets, or lists of class names) that share a class.

    Raises:
        DataError: naming the classes and the splits.
    """
    split_of: dict[str, str] = {}
    for split, data in splits.items():
        for name in data.index.names if isinstance(data, ClassDataset) else data:
            if name in split_of:
                raise DataError(
                    f"Class '{name}' is in both the {split_of[name]} and the {split} split; a "
                    "class may be in one only. Correct the split."
                )
            split_of[name] = split
