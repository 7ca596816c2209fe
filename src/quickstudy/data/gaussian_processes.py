"""Curves of Gaussian processes: the regression tasks of the neural processes' papers."""

import functools
import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, DataError, EpisodeError, did_you_mean
from quickstudy.core.rng import generator, uniform
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.types import Episode, Examples, Reals

_SPLITS = ("train", "val", "test")
_LENGTH, _SCALE, _X = (0.1, 0.6), (0.1, 1.0), (-2.0, 2.0)
_NOISE = 0.02
_BLOCK = 16


class GaussianProcesses(Described, AbstractData):
    """A task is one curve, drawn from a Gaussian process whose length and scale are drawn too; from
    some of its points the others are to be predicted, with their uncertainty.

    k(x, x') = s² ρ(|x − x'| / ℓ) + 0.02² [x = x'], ℓ ~ U[0.1, 0.6], s ~ U[0.1, 1], x ~ U[−2, 2]

    The splits are different curves of the same law.

    Args:
        kernel: ρ: "rbf", "matern52" or "periodic" (of period ℓ + 0.4).
        points: 0 = as many as the setting says; otherwise numbers of points are drawn as in the
            paper, n_shot from 3 … points − 4 and n_query from 3 … points − 1 − n_shot, the same
            for 16 tasks in a row (0 … 15, 16 … 31, …), which make one batch.

    Example:
        >>> tasks = GaussianProcesses().tasks("test", Setting(n_way=0, n_shot=10, n_query=50))
        >>> episode = tasks.batch([0, 1])
        >>> episode.support.x.shape, episode.query.y.shape, episode.target
        (torch.Size([2, 10, 1]), torch.Size([2, 50, 1]), Reals(dim=1))

    Raises:
        ConfigError: for an unknown kernel, or too few points.

    Paper: Nguyen and Grover 2022, arXiv:2207.04179, section 5.1 (with points=50).
    """

    name, shape = "gaussian_processes", (1,)

    def __init__(self, *, kernel: str = "rbf", points: int = 0) -> None:
        if kernel not in KERNELS:
            raise ConfigError(f"There is no kernel '{kernel}'. {did_you_mean(kernel, KERNELS)}")
        if points and points < 7:
            raise ConfigError(
                "points is 0, or at least 7 (3 examples, 3 queries and one to spare), got "
                f"{points}."
            )
        self.kernel, self.points = kernel, points

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> "GaussianProcessTasks":
        return GaussianProcessTasks(
            split, setting, kernel=self.kernel, points=self.points, seed=seed
        )


class GaussianProcessTasks(AbstractTasks):
    """The stream of curves. Task ``i`` depends on (kernel, points, setting, split, seed, i) alone.

    Args:
        split: train, val or test.
        setting: with n_way = 0; its numbers are not used where ``points`` is given.
        kernel, points: as in `GaussianProcesses`.
        seed: of the stream.

    Raises:
        DataError: for an unknown split.
        TaskKindError: for a setting with classes.
    """

    def __init__(
        self,
        split: str,
        setting: Setting,
        *,
        kernel: str = "rbf",
        points: int = 0,
        seed: int = 0,
    ) -> None:
        if split not in _SPLITS:
            raise DataError(
                f"gaussian_processes has no split '{split}'. {did_you_mean(split, _SPLITS)}"
            )
        setting.check_regression("gaussian_processes")
        self.data = "gaussian_processes"
        self.split = split
        self.uniform = not points
        self.block = _BLOCK
        self.setting = Setting(0, points - 4, points - 4) if points else setting
        self.seed = seed
        self.kernel = kernel
        self.points = points
        law = f"{kernel}, length {_LENGTH}, scale {_SCALE}, x {_X}, noise {_NOISE}, points {points}"
        self.split_hash = hashlib.sha256(law.encode()).hexdigest()[:12]

    def size(self, number: int) -> tuple[int, int]:
        """How many labelled points and queries a task has."""
        if not self.points:
            return self.setting.n_shot, self.setting.n_query
        return _block_size(self.data, self.split, self.seed, self.points, int(number) // _BLOCK)

    def batch(self, numbers: Sequence[int]) -> Episode:
        """The tasks with these numbers.

        Raises:
            EpisodeError: when their numbers of points differ.
        """
        x, y, _ = self._curves(numbers)
        n = self.size(numbers[0])[0]
        x, y = x.float()[..., None], y.float()[..., None]
        return Episode(Examples(x[:, :n], y[:, :n]), Examples(x[:, n:], y[:, n:]), Reals(1))

    def exact_log_likelihood(self, numbers: Sequence[int]) -> Float[Tensor, " T"]:
        """The mean log density of each task's queries, one by one, given its labelled points, to
        one who knows the kernel with its length and scale: no learner can be better on average.
        """
        _, y, k = self._curves(numbers)
        n = self.size(numbers[0])[0]
        known, across = k[:, :n, :n], k[:, n:, :n]
        solved = torch.linalg.solve(known, torch.cat((y[:, :n, None], across.mT), -1))
        mean = (across @ solved[..., :1])[..., 0]
        left = (across * solved[..., 1:].mT).sum(-1)
        variance = k.diagonal(dim1=-2, dim2=-1)[:, n:] - left
        return Normal(mean, variance.sqrt()).log_prob(y[:, n:]).mean(1)

    def _curves(self, numbers: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Places ``[T P]``, numbers there ``[T P]`` and their covariance ``[T P P]``."""
        sizes = {self.size(i) for i in numbers}
        if len(sizes) != 1:
            raise EpisodeError(
                f"Tasks with {len(sizes)} numbers of points do not fit in one batch, e.g. "
                f"{sorted(sizes)[:2]}. Take numbers of one block of {_BLOCK}."
            )
        n = sum(sizes.pop())
        draws = [generator(self.data, self.split, self.seed, "curve", int(i)) for i in numbers]
        law = torch.stack([torch.rand(2, generator=g, dtype=torch.float64) for g in draws])
        u = torch.stack([torch.rand(n, generator=g, dtype=torch.float64) for g in draws])
        e = torch.stack([torch.randn(n, generator=g, dtype=torch.float64) for g in draws])
        length, scale = _between(law[:, 0], _LENGTH), _between(law[:, 1], _SCALE)
        x = _between(u, _X)
        distance = (x[:, :, None] - x[:, None]).abs()
        rho = KERNELS[self.kernel](distance, length[:, None, None])
        k = scale[:, None, None] ** 2 * rho + _NOISE**2 * torch.eye(n, dtype=x.dtype)
        return x, (torch.linalg.cholesky(k) @ e[..., None])[..., 0], k


@functools.lru_cache(maxsize=64)
def _block_size(data: str, split: str, seed: int, points: int, block: int) -> tuple[int, int]:
    u = uniform(2, data, split, seed, "size", block)
    n_shot = 3 + int(u[0] * (points - 6))
    return n_shot, 3 + int(u[1] * (points - 3 - n_shot))


def _rbf(distance: Tensor, length: Tensor) -> Tensor:
    return (-0.5 * (distance / length) ** 2).exp()


def _matern52(distance: Tensor, length: Tensor) -> Tensor:
    d = math.sqrt(5) * distance / length
    return (1 + d + d**2 / 3) * (-d).exp()


def _periodic(distance: Tensor, length: Tensor) -> Tensor:
    return (-2 * (torch.sin(math.pi * distance / (length + 0.4)) / length) ** 2).exp()


KERNELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rbf": _rbf,
    "matern52": _matern52,
    "periodic": _periodic,
}
"""The correlation at a distance, given the length."""


def _between(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + u * (bounds[1] - bounds[0])
