"""MuJoCo's half cheetah, whose reward says which way to run, or how fast."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.core.rng import uniform
from quickstudy.rl.gym import EnvFamily

try:
    from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv
except ImportError as error:  # pragma: no cover
    raise ConfigError("The half cheetah needs MuJoCo: pip install 'quickstudy[mujoco]'.") from error

KINDS = ("direction", "velocity")


class HalfCheetahTask(HalfCheetahEnv):
    """The half cheetah with another reward: direction · v − 0.05 |a|², or −|v − v*| − 0.05 |a|².

    Args:
        kind: direction (a task is −1 or 1) or velocity (a task is v*, between 0 and 2).

    Paper: Finn, Abbeel, Levine 2017, arXiv:1703.03400, section 5.3 and appendix A.2.
    Differs: MuJoCo's own bindings and the model of gymnasium's v5; an observation is 17 numbers and
        the place of the torso, 20 in all.
    """

    def __init__(self, *, kind: str = "direction", **options: Any) -> None:
        if kind not in KINDS:
            raise ConfigError(f"No kind is called '{kind}'. {did_you_mean(kind, KINDS)}")
        self.kind, self.goal, self._sampled = kind, 1.0, 0
        super().__init__(**options)
        from gymnasium.spaces import Box

        self.observation_space = Box(-np.inf, np.inf, (20,), np.float64)

    def sample_tasks(self, n: int) -> list[NDArray[np.float32]]:
        """The next ``n`` training tasks."""
        self._sampled += n
        return [cheetah_task(self.kind, "train", self._sampled - n + i).numpy() for i in range(n)]

    def set_task(self, task: NDArray[np.float32]) -> None:
        """Which task the next episode is of."""
        self.goal = float(np.asarray(task).reshape(-1)[0])

    def step(self, action: Any) -> Any:
        observed, _, terminated, truncated, info = super().step(action)
        v = float(info["x_velocity"])
        gain = self.goal * v if self.kind == "direction" else -abs(v - self.goal)
        return observed, gain - 0.05 * float(np.square(action).sum()), terminated, truncated, info

    def _get_obs(self) -> NDArray[np.float64]:
        return np.concatenate(
            (self.data.qpos.flat[1:], self.data.qvel.flat, self.get_body_com("torso"))
        )


def cheetah_task(kind: str, split: str, number: int) -> Tensor:
    """Task ``number`` of a split: −1 or 1 in turn, or a velocity between 0 and 2."""
    if kind == "direction":
        return torch.tensor([1.0 if number % 2 else -1.0])
    return torch.from_numpy(2 * uniform(1, "cheetah", split, number)).float()


def half_cheetah(kind: str = "direction", *, horizon: int = 200) -> EnvFamily:
    """The tasks as a family, for `quickstudy.rl.train_policy`. Hundreds of episodes per iteration:
    hours on a few cores.

    Args:
        kind: direction or velocity.
        horizon: steps of an episode; the paper's 200.
    """
    return EnvFamily(
        lambda: HalfCheetahTask(kind=kind),
        lambda split, number: cheetah_task(kind, split, number),
        horizon=horizon,
    )
