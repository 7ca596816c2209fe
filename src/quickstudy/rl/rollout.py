"""Acting, and what it brought."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quickstudy.core.types import tensor_dataclass
from quickstudy.rl.environment import AbstractEnvironment
from quickstudy.rl.policy import AbstractPolicy, Params, drawn


@tensor_dataclass()
class Trajectories:
    """Episodes, cut where they ended.

    Args:
        observed: before each action.
        action: numbers, or vectors.
        reward: for each action; 0 where the episode was over.
        mask: True while it lasted.
    """

    observed: Float[Tensor, "T E H S"]
    action: Tensor
    reward: Float[Tensor, "T E H"]
    mask: Bool[Tensor, "T E H"]

    @property
    def returns(self) -> Float[Tensor, " T"]:
        """The undiscounted sum of rewards, the mean over each task's episodes."""
        return self.reward.sum(2).mean(1)


def collect(
    environment: AbstractEnvironment,
    tasks: Float[Tensor, "T P"],
    policy: AbstractPolicy,
    params: Params,
    n_episodes: int,
    generator: torch.Generator,
) -> Trajectories:
    """Episodes of each task with the weights of each task, ``[T …]``. Nothing is differentiated."""
    with torch.no_grad():
        return play(
            environment,
            tasks,
            lambda seen: drawn(policy(params, seen), generator),
            n_episodes,
            generator,
        )


def play(
    environment: AbstractEnvironment,
    tasks: Float[Tensor, "T P"],
    act: Callable[[Float[Tensor, "T E S"]], Tensor],
    n_episodes: int,
    generator: torch.Generator,
) -> Trajectories:
    """Episodes of the policy ``act``."""
    state = environment.reset(tasks, n_episodes, generator)
    alive = torch.ones(len(tasks), n_episodes, dtype=torch.bool)
    observations, actions, paid, lasted = [], [], [], []
    for _ in range(environment.horizon):
        observations.append(environment.observe(state))
        actions.append(act(observations[-1]))
        state, reward, over = environment.step(tasks, state, actions[-1], generator)
        paid.append(reward * alive)
        lasted.append(alive)
        alive = alive & ~over
        if not alive.any():
            break
    return Trajectories(
        torch.stack(observations, 2),
        torch.stack(actions, 2),
        torch.stack(paid, 2),
        torch.stack(lasted, 2),
    )
