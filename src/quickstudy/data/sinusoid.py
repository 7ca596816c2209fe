"""Sine waves: the regression problem of the MAML paper."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Described
from quickstudy.core.errors import DataError, did_you_mean
from quickstudy.core.rng import uniform
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.types import Episode, Examples, Reals

_SPLITS = ("train", "val", "test")
_AMPLITUDE, _PHASE, _X = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)


class Sinusoid(Described, AbstractData):
    """A task is one sine wave, y = A sin(x − φ), to be drawn from K of its points.

    A ~ U[0.1, 5], φ ~ U[0, π], x ~ U[−5, 5]. The splits are different tasks of the same law.

    Args:
        half_range: the support points of a task lie all in one half of the range, its queries in
            the other half.

    Example:
        >>> tasks = Sinusoid().tasks("test", Setting(n_way=0, n_shot=10, n_query=50))
        >>> episode = tasks.batch([0, 1])
        >>> episode.support.x.shape, episode.query.y.shape, episode.target
        (torch.Size([2, 10, 1]), torch.Size([2, 50, 1]), Reals(dim=1))

    Paper: Finn, Abbeel, Levine 2017, arXiv:1703.03400, section 5.1 (half_range: its figure 2).
    """

    name, shape = "sinusoid", (1,)

    def __init__(self, *, half_range: bool = False) -> None:
        self.half_range = half_range

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return SinusoidTasks(split, setting, half_range=self.half_range, seed=seed)


class SinusoidTasks(AbstractTasks):
    """The stream of sine waves. A task's wave does not depend on ``setting``, and its K support
    points are the first K of any larger K.

    Args:
        split: train, val or test.
        setting: with n_way = 0.
        half_range: as in `Sinusoid`.
        seed: of the stream.

    Raises:
        DataError: for an unknown split.
        TaskKindError: for a setting with classes.
    """

    def __init__(
        self, split: str, setting: Setting, *, half_range: bool = False, seed: int = 0
    ) -> None:
        if split not in _SPLITS:
            raise DataError(f"sinusoid has no split '{split}'. {did_you_mean(split, _SPLITS)}")
        setting.check_regression("sinusoid")
        self.data = "sinusoid"
        self.split = split
        self.setting = setting
        self.seed = seed
        self.half_range = half_range
        law = f"A sin(x - phi), A {_AMPLITUDE}, phi 0 ... pi, x {_X}, half_range {half_range}"
        self.split_hash = hashlib.sha256(law.encode()).hexdigest()[:12]

    def batch(self, numbers: Sequence[int]) -> Episode:
        law = self._draws(numbers, "wave", 3)
        # [T 1]
        amplitude, phase = (
            _between(law[:, [k]], bounds) for k, bounds in ((0, _AMPLITUDE), (1, _PHASE))
        )
        right = law[:, [2]] >= 0.5

        def examples(part: str, n: int, half: NDArray[np.bool_]) -> Examples:
            u = self._draws(numbers, part, n)
            x = _between((u + half) / 2 if self.half_range else u, _X)  # [T n]
            y = amplitude * np.sin(x - phase)
            return Examples(*(torch.from_numpy(v.astype(np.float32))[..., None] for v in (x, y)))

        return Episode(
            examples("support", self.setting.n_shot, right),
            examples("query", self.setting.n_query, ~right),
            Reals(1),
        )

    def _draws(self, numbers: Sequence[int], purpose: str, n: int) -> NDArray[np.float64]:
        # [T n]
        return np.stack(
            [uniform(n, self.data, self.split, self.seed, purpose, int(i)) for i in numbers]
        )


def _between(u: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    return bounds[0] + u * (bounds[1] - bounds[0])
