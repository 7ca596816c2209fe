"""Error-correcting codes: many classes as several tasks of few classes."""

import numpy as np

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import uniform


def class_codes(n_classes: int, n_groups: int, n_tasks: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Which group each class belongs to in each task, ``[n_tasks n_classes]``: random groups of
    equal sizes, such that no two classes share all of theirs.

    Args:
        n_classes: how many.
        n_groups: how many groups a task has.
        n_tasks: at least so many tasks; more if that is too few to tell all classes apart.
        seed: of the groups.

    Example:
        >>> codes = class_codes(6, 3, 4)
        >>> codes.shape, len(set(map(tuple, codes.T.tolist())))
        ((4, 6), 6)
        >>> np.bincount(codes[0]).tolist()
        [2, 2, 2]

    Raises:
        ConfigError: for fewer than two groups.
    """
    if n_groups < 2 or n_classes < 1:
        raise ConfigError(
            f"A code needs at least 2 groups and a class, got {n_groups} and {n_classes}."
        )
    rows: list[NDArray[np.int64]] = []
    while len(rows) < n_tasks or not _told_apart(np.stack(rows)):
        place = uniform(n_classes, "class codes", seed, len(rows)).argsort().argsort()
        rows.append(place.astype(np.int64) % n_groups)
    return np.stack(rows)


def _told_apart(codes: NDArray[np.int64]) -> bool:
    return len(np.unique(codes, axis=1).T) == codes.shape[1]
