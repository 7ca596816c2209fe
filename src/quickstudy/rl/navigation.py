"""A point on a plane that must find out where its goal is."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.rng import uniform
from quickstudy.rl.environment import AbstractEnvironment


class Navigation2D(AbstractEnvironment):
    """Walk from the origin to a goal that is known through the reward alone: minus the distance to
    it, after each step.

    Goals are uniform in the square of half-side 0.5; a step is at most 0.1 along each axis; an
    episode is over within 0.01 of the goal along both axes, or after ``horizon`` steps. Standing
    still brings −38 on average.

    Args:
        horizon: steps.

    Paper: Finn, Abbeel, Levine 2017, arXiv:1703.03400, section 5.3 and appendix A.2.
    """

    n_observed, n_actions, discrete = 2, 2, False

    def __init__(self, *, horizon: int = 100) -> None:
        self.horizon = horizon

    def task(self, split: str, number: int) -> Tensor:
        return torch.from_numpy(uniform(2, "navigation", split, number) - 0.5).float()

    def reset(self, tasks: Tensor, n_episodes: int, generator: torch.Generator) -> Tensor:
        return tasks.new_zeros(len(tasks), n_episodes, 2)

    def observe(self, state: Any) -> Float[Tensor, "T E S"]:
        return state

    def step(
        self, tasks: Tensor, state: Any, action: Tensor, generator: torch.Generator
    ) -> tuple[Any, Tensor, Tensor]:
        after = state + action.clamp(-0.1, 0.1)
        apart = after - tasks[:, None]
        return after, -apart.norm(dim=2), (apart.abs() < 0.01).all(2)

    @staticmethod
    def oracle(
        tasks: Float[Tensor, "T 2"], observed: Float[Tensor, "T E 2"]
    ) -> Float[Tensor, "T E 2"]:
        """The action of a policy that knows the goal: straight to it."""
        return (tasks[:, None] - observed).clamp(-0.1, 0.1)
