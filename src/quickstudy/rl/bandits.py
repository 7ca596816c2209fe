"""One-armed bandits."""

from typing import Any

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import uniform
from quickstudy.rl.environment import AbstractEnvironment


class Bandits(AbstractEnvironment):
    """Arms that pay 1 with a probability of their own, uniform in [0, 1], else 0. An episode is one
    pull; nothing is to be seen.

    Args:
        n_arms: how many.

    Paper: Duan et al. 2016, arXiv:1611.02779 (RL²), section 3.1.
    """

    n_observed, discrete, horizon = 1, True, 1

    def __init__(self, *, n_arms: int = 5) -> None:
        if n_arms < 2:
            raise ConfigError(f"A bandit has at least 2 arms, got {n_arms}.")
        self.n_actions = n_arms

    def task(self, split: str, number: int) -> Tensor:
        return torch.from_numpy(uniform(self.n_actions, "bandits", split, number)).float()

    def reset(self, tasks: Tensor, n_episodes: int, generator: torch.Generator) -> Tensor:
        return tasks.new_zeros(len(tasks), n_episodes, 1)

    def observe(self, state: Any) -> Tensor:
        return state

    def step(
        self, tasks: Tensor, state: Any, action: Tensor, generator: torch.Generator
    ) -> tuple[Any, Tensor, Tensor]:
        pays = torch.rand(action.shape, generator=generator) < tasks.gather(1, action)
        return state, pays.to(tasks.dtype), torch.ones_like(pays)
