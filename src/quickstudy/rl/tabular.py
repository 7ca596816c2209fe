"""Small worlds of a few states."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import uniform
from quickstudy.rl.environment import AbstractEnvironment


class TabularWorlds(AbstractEnvironment):
    """Random Markov decision processes: where an action leads is drawn from a flat Dirichlet
    distribution for each state and action, and it pays a normal number around a mean of its own,
    which is normal around 1. Episodes begin in state 0; the state is seen, one-hot.

    Args:
        n_states, n_actions: how many.
        horizon: steps.

    Paper: Duan et al. 2016, arXiv:1611.02779 (RL²), section 3.2.
    """

    discrete = True

    def __init__(self, *, n_states: int = 10, n_actions: int = 5, horizon: int = 10) -> None:
        if min(n_states, n_actions) < 2 or horizon < 1:
            raise ConfigError(
                f"A world has at least 2 states, 2 actions and 1 step, got {n_states}, {n_actions} "
                f"and {horizon}."
            )
        self.n_observed, self.n_actions, self.horizon = n_states, n_actions, horizon

    def task(self, split: str, number: int) -> Tensor:
        s, a = self.n_observed, self.n_actions
        u = np.clip(uniform(s * a * (s + 2), "worlds", split, number), 1e-12, 1 - 1e-12)
        # Exponential numbers over their sum are Dirichlet; pay is normal by Box and Muller.
        leads = -np.log(u[: s * a * s]).reshape(s * a, s)
        leads /= leads.sum(1, keepdims=True)
        radius, angle = u[s * a * s :].reshape(2, s * a)
        pays = 1 + np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)
        return torch.from_numpy(np.concatenate((pays, leads.ravel()))).float()

    def reset(self, tasks: Tensor, n_episodes: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(tasks), n_episodes, dtype=torch.long)

    def observe(self, state: Any) -> Tensor:
        return F.one_hot(state, self.n_observed).float()

    def step(
        self, tasks: Tensor, state: Any, action: Tensor, generator: torch.Generator
    ) -> tuple[Any, Tensor, Tensor]:
        s, a = self.n_observed, self.n_actions
        at = state * a + action  # [T E]
        pays = tasks[:, : s * a].gather(1, at) + torch.randn(at.shape, generator=generator)
        # [T E S]
        leads = tasks[:, s * a :].unflatten(1, (s * a, s))[torch.arange(len(tasks))[:, None], at]
        after = torch.multinomial(leads.flatten(0, 1), 1, generator=generator).view_as(at)
        return after, pays, torch.zeros_like(at, dtype=torch.bool)
