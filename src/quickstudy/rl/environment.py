"""What a policy acts in: many tasks and many episodes of each, side by side."""

import abc
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError

SPLITS = ("train", "test")


class AbstractEnvironment(Described, abc.ABC):
    """A family of tasks that share what can be seen and done, and differ in what is rewarded, or in
    what follows.

    Axes: ``T`` tasks, ``E`` episodes of each, ``H`` steps of each, ``P`` numbers that say which
        task it is (never shown to a policy).

    Attributes:
        n_observed: length of an observation.
        n_actions: length of an action, or how many there are to choose from.
        discrete: whether actions are numbers 0 … n_actions−1; else real vectors.
        horizon: steps of an episode, at most.
    """

    n_observed: int
    n_actions: int
    discrete: bool
    horizon: int

    @abc.abstractmethod
    def task(self, split: str, number: int) -> Float[Tensor, " P"]:
        """Task ``number`` of a split: always the same."""

    def tasks(self, n: int, *, split: str = "train", first: int = 0) -> Float[Tensor, "T P"]:
        """Tasks ``first`` … ``first`` + n − 1 of a split.

        Raises:
            ConfigError: for an unknown split, or less than one task.
        """
        if split not in SPLITS or n < 1:
            raise ConfigError(
                f"Tasks come from one of {' and '.join(SPLITS)}, one or more at a time, got {n} of "
                f"'{split}'."
            )
        return torch.stack([self.task(split, first + i) for i in range(n)])

    @abc.abstractmethod
    def reset(
        self, tasks: Float[Tensor, "T P"], n_episodes: int, generator: torch.Generator
    ) -> Any:
        """The state in which episodes begin."""

    @abc.abstractmethod
    def observe(self, state: Any) -> Float[Tensor, "T E S"]:
        """What a policy sees of it."""

    @abc.abstractmethod
    def step(
        self, tasks: Float[Tensor, "T P"], state: Any, action: Tensor, generator: torch.Generator
    ) -> tuple[Any, Float[Tensor, "T E"], Bool[Tensor, "T E"]]:
        """The state after an action, the reward for it, and whether the episode is over."""
