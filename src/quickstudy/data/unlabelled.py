"""Data without its training labels."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.class_index import ClassIndex
from quickstudy.data.episodes import Episodes

_HIDDEN = ("train", "trainval")


class Unlabelled(Described, AbstractData):
    """Other data, whose training examples are all of one class: what self-supervised training may
    know of them.

    A training task is a batch of examples, drawn evenly from the whole split, ``n_way = 1``; a
    transform makes tasks of it (`contrastive`), or an objective learns from them as they are.
    Validation and test tasks are those of the data itself.

    Args:
        of: the name of the data, as in ``DATA``.
        options: its options.

    Raises:
        ConfigError: for data that there is not, or that has no classes.

    Example:
        >>> batch = (
        ...     Unlabelled("glyphs")
        ...     .tasks("train", Setting(n_way=1, n_shot=30, n_query=2))
        ...     .batch([0])
        ... )
        >>> batch.support.x.shape, batch.support.y.unique()
        (torch.Size([1, 30, 1, 28, 28]), tensor([0]))
    """

    def __init__(self, of: str = "omniglot", options: Mapping[str, Any] | None = None) -> None:
        from quickstudy.data import DATA

        if of not in DATA or of == "unlabelled":
            raise ConfigError(f"No data is called '{of}'. {did_you_mean(of, DATA)}")
        self._data = DATA[of](**(options or {}))
        self.name, self.shape = self._data.name, self._data.shape
        self.image_format, self.sound_format = self._data.image_format, self._data.sound_format

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        if split not in _HIDDEN:
            return self._data.tasks(split, setting, seed=seed)
        labelled = self._data.tasks(split, Setting(1, 1, 1), seed=seed)
        if not isinstance(labelled, Episodes):
            raise ConfigError(f"{self.name} has no classes, so it has no labels to be left out.")
        dataset = labelled.dataset
        index = ClassIndex(np.zeros(len(dataset.x), dtype=np.int64), ["unlabelled"])
        return Episodes(
            replace(dataset, split=f"{dataset.split}, unlabelled", index=index), setting, seed=seed
        )
