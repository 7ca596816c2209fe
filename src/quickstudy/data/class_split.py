"""Which classes are for training, which for validation and which for testing."""

from collections.abc import Mapping, Sequence

import numpy as np

from quickstudy.core.errors import ConfigError, DataError, did_you_mean
from quickstudy.core.rng import words
from quickstudy.core.words import counted
from quickstudy.data.class_index import ClassDataset


def split_classes(
    names: Sequence[str], *, val: float, test: float, seed: int = 0
) -> dict[str, list[str]]:
    """Whole classes dealt out to ``train``, ``val`` and ``test``, each split in the order of
    ``names``.

    The classes are ranked by a hash of (seed, name): the split depends on the set of names alone,
    not on their order or on how many examples they have.

    Args:
        names: of the classes.
        val, test: the share of the classes in these splits, rounded, but at least one class unless
            the share is 0.
        seed: of the hash.

    Raises:
        ConfigError: for shares that leave nothing to train on.
        DataError: for too few classes.

    >>> split_classes(["ash", "elm", "fir", "oak", "yew"], val=0.2, test=0.2)
    {'train': ['ash', 'fir', 'yew'], 'val': ['elm'], 'test': ['oak']}
    """
    check_shares(val, test)
    n_val, n_test = (max(1, round(share * len(names))) if share else 0 for share in (val, test))
    if n_val + n_test >= len(names):
        raise DataError(
            f"{counted(len(names), 'class', 'classes')} cannot be split into {n_val} for "
            f"validation, {n_test} for "
            "testing and at least one for training. "
            "Add classes, or lower val or test (0 leaves that split out)."
        )
    ranks = np.argsort([words(1, "class split", seed, name)[0] for name in names], kind="stable")
    ranked = {
        "test": ranks[:n_test],
        "val": ranks[n_test : n_test + n_val],
        "train": ranks[n_test + n_val :],
    }
    return {
        split: [names[int(i)] for i in sorted(ranked[split])] for split in ("train", "val", "test")
    }


def check_shares(val: float, test: float) -> None:
    """Refuse shares that leave nothing to train on.

    Raises:
        ConfigError: with both numbers.
    """
    if not (val >= 0 and test >= 0 and val + test < 1):
        raise ConfigError(
            "val and test are shares of the classes, at least 0 and together less than 1, got "
            f"val={val} and test={test}."
        )


def splits_of(
    data: ClassDataset, *, prefix: str, val: float, test: float, seed: int
) -> dict[str, ClassDataset]:
    """The splits of one data set, without the empty ones; each is called ``prefix/train`` and so
    on.
    """
    lists = split_classes(data.index.names, val=val, test=test, seed=seed)
    return {
        split: data.only(classes, split=f"{prefix}/{split}")
        for split, classes in lists.items()
        if classes
    }


def split_named(splits: Mapping[str, ClassDataset], name: str, *, data: str) -> ClassDataset:
    """One of the splits.

    Raises:
        DataError: for a split that is not there.
    """
    if name not in splits:
        raise DataError(f"{data} has no split '{name}'. {did_you_mean(name, splits)}")
    return splits[name]


def enough_examples(data: ClassDataset, min_per_class: int) -> tuple[ClassDataset, tuple[str, ...]]:
    """The data without the classes that have fewer examples, and those classes' names.

    Raises:
        DataError: when no class is left.
    """
    few = tuple(
        name
        for name, n in zip(data.index.names, data.index.counts, strict=True)
        if n < min_per_class
    )
    if not few:
        return data, ()
    if len(few) == len(data.index):
        raise DataError(
            f"No class of {data.name} has min_per_class={min_per_class} examples; the largest has "
            f"{data.index.counts.max()}. "
            "Lower min_per_class, or add examples."
        )
    return data.only([name for name in data.index.names if name not in few], split=data.split), few
