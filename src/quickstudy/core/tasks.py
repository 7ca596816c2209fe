"""Where tasks come from: an endless, numbered stream."""

import abc
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch

from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode


class AbstractTasks(abc.ABC):
    """Task ``i`` of the stream depends on (data set, split, seed, i) alone: not on batch size,
    worker count or learner.

    Attributes:
        data, split, split_hash: where the tasks come from.
        setting: their size; where it varies from task to task, what is known of it.
        seed: the stream's seed.
        uniform: whether all tasks have the same shape, so that several fit in one batch.
        block: so many tasks in a row (0 … block − 1, block … 2 block − 1, …) have the same shape,
            where not all have.
    """

    data: str
    split: str
    split_hash: str
    setting: Setting
    seed: int
    uniform: bool = True
    block: int = 1

    @abc.abstractmethod
    def batch(self, numbers: Sequence[int]) -> Episode:
        """The tasks with these numbers, in this order, as one episode."""

    def to(self, device: torch.device | str) -> Self:
        """The same stream, drawn on another device where that can be done."""
        return self

    def together(self, size: int) -> int:
        """How many tasks at a time, at most ``size``, fit in one batch, counted from task 0."""
        return size if self.uniform else math.gcd(size, self.block)

    def batches(self, numbers: Sequence[int], size: int) -> Iterator[Episode]:
        """The tasks with these numbers, ``size`` at a time (one at a time where their shapes
        differ).
        """
        step = size if self.uniform else 1
        for at in range(0, len(numbers), step):
            yield self.batch(numbers[at : at + step])


class AbstractData(abc.ABC):
    """A data set that tasks are drawn from.

    Attributes:
        name: as printed with results.
        shape: of one example.
        image_format: how a picture file becomes an example, as JSON (see `quickstudy.data.images`);
            None if examples are no pictures.
        sound_format: how a recording becomes examples, as JSON (see `quickstudy.data.sounds`); None
            if examples are no recordings.
    """

    name: str
    shape: tuple[int, ...]
    image_format: Mapping[str, Any] | None = None
    sound_format: Mapping[str, Any] | None = None

    @abc.abstractmethod
    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        """The stream of tasks of one split (``train``, ``val`` or ``test``)."""
