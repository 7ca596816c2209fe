"""Own vectors: rows of numbers with a label each."""

import numpy as np
import torch
from numpy.typing import ArrayLike

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.words import counted
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.class_split import enough_examples, split_named, splits_of
from quickstudy.data.episodes import Episodes


class Vectors(AbstractData):
    """Labelled vectors in memory, their classes split into ``train``, ``val`` and ``test``.

    Args:
        x: [M D], numbers; kept as float32.
        y: [M], labels of any kind: whole numbers, text, … A class is named as its label is printed.
        name: as printed with results.
        val, test: the share of the classes in these splits, see `split_classes`.
        seed: of the split.
        min_per_class: classes with fewer rows are left out.

    Raises:
        DataError: for arrays of other shapes, for a value that is not a finite number, and for a
            missing label; with the row's number.

    Example:
        >>> data = Vectors(np.eye(6), ["a", "a", "b", "b", "c", "c"], val=0.0, test=0.3)
        >>> data.split("train").index.names, data.split("test").index.names
        (('b', 'c'), ('a',))
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        name: str = "vectors",
        val: float = 0.2,
        test: float = 0.2,
        seed: int = 0,
        min_per_class: int = 1,
    ) -> None:
        rows, (labels, names) = _rows(x), numbered_classes(y)
        if len(rows) != len(labels):
            raise DataError(
                f"x has {counted(len(rows), 'row')} but y has {counted(len(labels), 'label')}. "
                f"Give one label per row."
            )
        data = ClassDataset(name, "vectors/all", torch.from_numpy(rows), ClassIndex(labels, names))
        data, self.left_out = enough_examples(data, min_per_class)
        self._splits = splits_of(data, prefix="vectors", val=val, test=test, seed=seed)
        self.name, self.shape = name, (rows.shape[1],)

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val`` or ``test``."""
        return split_named(self._splits, name, data=self.name)

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)


def _rows(x: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(x)
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(
            "x must hold one vector per row, [M D] with at least one row and column, but has the "
            f"shape {list(array.shape)}."
        )
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"x must hold real numbers, but its dtype is {array.dtype}. Turn other columns into "
            "numbers first."
        )
    with np.errstate(over="ignore"):
        rows = array.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(wrong):
        row = wrong[0]
        column = np.flatnonzero(~np.isfinite(rows[row]))[0]
        raise DataError(
            f"{len(wrong)} of {len(rows)} rows of x hold a value that is not a finite float32 "
            "number; "
            f"the first is {array[row, column]} in row {row}, column {column}. Replace these "
            "values or leave the rows out."
        )
    return rows


def numbered_classes(y: ArrayLike) -> tuple[NDArray[np.int64], list[str]]:
    """The class of each row as a number, and the classes' names.

    Raises:
        DataError: for a missing label, or labels that are no list.
    """
    given = np.asarray(y)
    if given.ndim != 1:
        raise DataError(
            f"y must hold one label per row, [M], but has the shape {list(given.shape)}."
        )
    # From y itself: numpy has already made text of a NaN among texts.
    missing = [
        row
        for row, label in enumerate(np.asarray(y, dtype=object))
        if label is None or label != label
    ]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(given)} labels in y are missing, the first in row "
            f"{missing[0]}. Leave these rows out."
        )
    # Text and numbers side by side have no order of their own.
    labels, rows = np.unique(
        given.astype(str) if given.dtype.kind == "O" else given, return_inverse=True
    )
    return rows.astype(np.int64), [str(label) for label in labels.astype(str)]
