"""Several data sets as one source of tasks: each task is of one of them."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.rng import uniform
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.types import Episode, Examples


class SeveralTasks(AbstractTasks):
    """Task i is task i of one of the streams, drawn by their weights.

    Args:
        streams: of tasks of one size and one shape of examples.
        weights: how often each is drawn.
        seed: of the drawing.

    Raises:
        ConfigError: for streams of different sizes or shapes of tasks, or weights that are no
            shares.
    """

    def __init__(
        self, streams: Sequence[AbstractTasks], weights: Sequence[float], *, seed: int = 0
    ) -> None:
        settings = {stream.setting for stream in streams}
        if len(settings) > 1 or not all(stream.uniform for stream in streams):
            raise ConfigError(
                "Streams of tasks are mixed where all tasks have one size, but they have "
                f"{sorted(map(str, settings))}. Give all the same setting."
            )
        if len(weights) != len(streams) or not all(w > 0 for w in weights):
            raise ConfigError(
                f"{len(streams)} streams need as many weights above 0, got {list(weights)}."
            )
        self.streams = tuple(streams)
        self.weights = tuple(weights)
        self._bounds = np.cumsum(weights) / sum(weights)
        self.setting = streams[0].setting
        self.seed = seed
        self.data = "+".join(stream.data for stream in streams)
        self.split = "+".join(stream.split for stream in streams)
        self.split_hash = "+".join(stream.split_hash for stream in streams)

    def source(self, number: int) -> int:
        """Which stream a task is of."""
        u = uniform(1, "several", self.seed, number)[0]
        return int(np.searchsorted(self._bounds, u, side="right"))

    def to(self, device: torch.device | str) -> Self:
        streams = [stream.to(device) for stream in self.streams]
        return type(self)(streams, self.weights, seed=self.seed)

    def batch(self, numbers: Sequence[int]) -> Episode:
        parts = [self.streams[self.source(i)].batch([i]) for i in numbers]
        shapes = {tuple(part.support.x.shape[2:]) for part in parts}
        if len(shapes) > 1:
            raise ConfigError(f"Examples must have one shape in all streams, got {sorted(shapes)}.")
        return Episode(
            _joined([part.support for part in parts]),
            _joined([part.query for part in parts]),
            parts[0].target,
        )


class Several(Described, AbstractData):
    """Data sets of one shape, mixed: a training task is of one of them.

    Args:
        sources: names of data sets, at least two; each is taken with its defaults.
        weights: how often each is drawn from; empty = all alike.
        held_out: the name of another data set, which gives the tasks of the splits ``val`` and
            ``test``; empty = these are of all the sources, too.

    Raises:
        ConfigError: for fewer than two sources, unknown ones, ones of different shapes, or a
            held-out one that is among them.
    """

    def __init__(
        self, *, sources: Sequence[str], weights: Sequence[float] = (), held_out: str = ""
    ) -> None:
        from quickstudy.data import DATA

        names = (*sources, *((held_out,) if held_out else ()))
        for name in names:
            if name not in DATA:
                raise ConfigError(f"There is no data set '{name}'. {did_you_mean(name, DATA)}")
        if len(sources) < 2 or len(set(names)) < len(names):
            raise ConfigError(
                f"Two or more different data sets can be mixed, and one more held out, got "
                f"sources={list(sources)} and held_out='{held_out}'."
            )
        self.sources = [DATA[name]() for name in sources]
        self.held_out = DATA[held_out]() if held_out else None
        every = [*self.sources, *([self.held_out] if self.held_out else [])]
        shapes = {tuple(data.shape) for data in every}
        if len(shapes) > 1:
            listed = ", ".join(f"{data.name} {tuple(data.shape)}" for data in every)
            raise ConfigError(f"Data sets that are mixed have examples of one shape, got {listed}.")
        self.weights = tuple(weights) or (1.0,) * len(self.sources)
        self.name = "+".join(data.name for data in self.sources)
        self.shape = self.sources[0].shape
        self.image_format = self.sources[0].image_format

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        if self.held_out is not None and split in ("val", "test"):
            return self.held_out.tasks(split, setting, seed=seed)
        streams = [data.tasks(split, setting, seed=seed) for data in self.sources]
        return SeveralTasks(streams, self.weights, seed=seed)


def _joined(parts: Sequence[Examples]) -> Examples:
    unlabelled = [part.unlabelled for part in parts if part.unlabelled is not None]
    return Examples(
        torch.cat([part.x for part in parts]),
        torch.cat([part.y for part in parts]),
        unlabelled=torch.cat(unlabelled) if unlabelled else None,
    )
