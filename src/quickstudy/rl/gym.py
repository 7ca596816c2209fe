"""The same tasks as environments of gymnasium, and gymnasium's as ours.

Importing this module registers ``quickstudy/Navigation2D-v0``, ``quickstudy/Bandit-v0``,
``quickstudy/TabularWorld-v0``, ``quickstudy/HalfCheetahDirection-v0`` and
``quickstudy/HalfCheetahVelocity-v0``;
``gymnasium.make("quickstudy.rl.gym:quickstudy/Navigation2D-v0")`` does it in one go.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import generator
from quickstudy.rl.bandits import Bandits
from quickstudy.rl.environment import AbstractEnvironment
from quickstudy.rl.navigation import Navigation2D
from quickstudy.rl.tabular import TabularWorlds

try:
    import gymnasium
except ImportError as error:  # pragma: no cover
    raise ConfigError("Environments of gymnasium need it: pip install 'quickstudy[rl]'.") from error

if TYPE_CHECKING:
    Base = gymnasium.Env[NDArray[np.float32], Any]
else:
    Base = gymnasium.Env


class TaskEnv(Base):
    """One task of a family at a time, one episode at a time.

    Args:
        family: makes the family.
        split: where `sample_tasks` draws from.

    Any further arguments are the family's.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        family: Callable[..., AbstractEnvironment] = Navigation2D,
        *,
        split: str = "train",
        **options: Any,
    ) -> None:
        self.family, self.split = family(**options), split
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (self.family.n_observed,), np.float32
        )
        if self.family.discrete:
            self.action_space: Any = gymnasium.spaces.Discrete(self.family.n_actions)
        else:
            self.action_space = gymnasium.spaces.Box(
                -np.inf, np.inf, (self.family.n_actions,), np.float32
            )
        self._next = 0
        self._task = self.family.tasks(1, split=split)
        self._state: Any = None
        self._steps, self._source = 0, generator("env", 0)

    def sample_tasks(self, n: int) -> list[NDArray[np.float32]]:
        """The next ``n`` tasks of the split."""
        tasks = self.family.tasks(n, split=self.split, first=self._next)
        self._next += n
        return list(tasks.numpy())

    def set_task(self, task: NDArray[np.float32]) -> None:
        """Which task the next episode is of.

        Raises:
            ConfigError: for what is no task of this family.
        """
        given = torch.as_tensor(np.asarray(task), dtype=torch.float32)[None]
        if given.shape != self._task.shape:
            raise ConfigError(
                f"A task of {type(self.family).__name__} is {self._task.shape[1]} numbers, got "
                f"shape {tuple(given.shape[1:])}. Take one of sample_tasks(n)."
            )
        self._task = given

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._source = generator("env", seed)
        self._state, self._steps = self.family.reset(self._task, 1, self._source), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        taken = torch.as_tensor(np.asarray(action))
        taken = taken.long() if self.family.discrete else taken.float()
        self._state, reward, over = self.family.step(
            self._task, self._state, taken[None, None], self._source
        )
        self._steps += 1
        return (
            self._seen(),
            float(reward),
            bool(over),
            not bool(over) and self._steps >= self.family.horizon,
            {},
        )

    def _seen(self) -> NDArray[np.float32]:
        return self.family.observe(self._state)[0, 0].float().numpy().copy()


class EnvFamily(AbstractEnvironment):
    """Tasks of a gymnasium environment with ``set_task``, as a family: episodes run one after
    another, each in an environment of its own.

    Args:
        make: makes one environment.
        task: the numbers of task ``number`` of a split.
        horizon: steps of an episode, at most.
    """

    def __init__(
        self, make: Callable[[], Any], task: Callable[[str, int], Tensor], *, horizon: int
    ) -> None:
        self._make, self._task_of, self.horizon = make, task, horizon
        self._pool: list[Any] = []
        space = self._envs(1)[0].action_space
        self.discrete = isinstance(space, gymnasium.spaces.Discrete)
        self.n_actions = (
            int(space.n)
            if isinstance(space, gymnasium.spaces.Discrete)
            else int(np.prod(space.shape))
        )
        self.n_observed = int(np.prod(self._pool[0].observation_space.shape))

    def task(self, split: str, number: int) -> Tensor:
        return self._task_of(split, number)

    def reset(self, tasks: Tensor, n_episodes: int, generator: torch.Generator) -> Any:
        envs = self._envs(len(tasks) * n_episodes)
        seeds = torch.randint(2**31 - 1, (len(envs),), generator=generator).tolist()
        observations = []
        for i, (env, seed) in enumerate(zip(envs, seeds, strict=True)):
            env.unwrapped.set_task(tasks[i // n_episodes].numpy())
            observations.append(env.reset(seed=seed)[0])
        return self._stacked(observations, n_episodes)

    def observe(self, state: Any) -> Tensor:
        return state

    def step(
        self, tasks: Tensor, state: Any, action: Tensor, generator: torch.Generator
    ) -> tuple[Any, Tensor, Tensor]:
        acts, n = action.flatten(0, 1).numpy(), state.shape[1]
        out = [env.step(a) for env, a in zip(self._envs(len(acts)), acts, strict=True)]
        reward = torch.tensor([float(o[1]) for o in out]).view(-1, n)
        over = torch.tensor([bool(o[2] or o[3]) for o in out]).view(-1, n)
        return self._stacked([o[0] for o in out], n), reward, over

    def _envs(self, n: int) -> list[Any]:
        while len(self._pool) < n:
            self._pool.append(self._make())
        return self._pool[:n]

    @staticmethod
    def _stacked(observations: list[Any], n_episodes: int) -> Tensor:
        return torch.from_numpy(np.stack(observations).astype(np.float32)).unflatten(
            0, (-1, n_episodes)
        )


for _name, _family in (
    ("Navigation2D", Navigation2D),
    ("Bandit", Bandits),
    ("TabularWorld", TabularWorlds),
):
    gymnasium.register(f"quickstudy/{_name}-v0", entry_point=TaskEnv, kwargs={"family": _family})
for _kind in ("Direction", "Velocity"):
    gymnasium.register(
        f"quickstudy/HalfCheetah{_kind}-v0",
        entry_point="quickstudy.rl.half_cheetah:HalfCheetahTask",
        kwargs={"kind": _kind.lower()},
        max_episode_steps=200,
    )
