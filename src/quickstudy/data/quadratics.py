"""Random quadratics: what learned optimisers are first tried on."""

import hashlib
from collections.abc import Sequence

import torch

from quickstudy.core.describe import Described
from quickstudy.core.errors import DataError, EpisodeError, did_you_mean
from quickstudy.core.rng import generator
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.types import Episode, Examples, Reals

_SPLITS = ("train", "val", "test")


class Quadratics(Described, AbstractData):
    """A task is one function f(θ) = |Wθ − y|² of ``dim`` numbers, W and y standard normal, to be
    minimised from a random start.

    It is given as the regression it is: the rows of W are the examples, y the targets, in support
        and queries alike; a linear head
    without features before it has θ as its weight, and the mean squared error is f/dim. A start θ₀
    ~ N(0, 1) is folded into y, so that a weight of zero is the start.

    Args:
        dim: how many numbers.

    Example:
        >>> episode = (
        ...     Quadratics().tasks("test", Setting(n_way=0, n_shot=10, n_query=10)).batch([0, 1])
        ... )
        >>> (
        ...     episode.support.x.shape,
        ...     episode.support.y.shape,
        ...     torch.equal(episode.support.x, episode.query.x),
        ... )
        (torch.Size([2, 10, 10]), torch.Size([2, 10, 1]), True)

    Paper: Andrychowicz et al. 2016, arXiv:1606.04474, section 3.1.
    """

    name = "quadratics"

    def __init__(self, *, dim: int = 10) -> None:
        self.dim, self.shape = dim, (dim,)

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return QuadraticTasks(split, setting, dim=self.dim, seed=seed)


class QuadraticTasks(AbstractTasks):
    """The stream of quadratics.

    Args:
        split: train, val or test.
        setting: n_way = 0, and n_shot = n_query = dim: all rows.
        dim: numbers.
        seed: of the stream.

    Raises:
        DataError: for an unknown split.
        EpisodeError: for another setting.
    """

    def __init__(self, split: str, setting: Setting, *, dim: int = 10, seed: int = 0) -> None:
        if split not in _SPLITS:
            raise DataError(f"quadratics has no split '{split}'. {did_you_mean(split, _SPLITS)}")
        if setting != Setting(0, dim, dim):
            raise EpisodeError(
                f"A quadratic of {dim} numbers is given whole: use n_way=0, n_shot={dim} and "
                f"n_query={dim}, got {setting!r}."
            )
        self.data = "quadratics"
        self.split = split
        self.setting = setting
        self.seed = seed
        self.dim = dim
        self.split_hash = hashlib.sha256(
            f"|W theta - y|^2, standard normal, dim {dim}".encode()
        ).hexdigest()[:12]

    def batch(self, numbers: Sequence[int]) -> Episode:
        x, y = [], []
        for number in numbers:
            drawn = torch.randn(
                self.dim,
                self.dim + 2,
                generator=generator("quadratics", self.split, self.seed, int(number)),
            )
            w, target, start = drawn[:, : self.dim], drawn[:, self.dim], drawn[:, self.dim + 1]
            x.append(w)
            y.append((target - w @ start)[:, None])
        rows = Examples(torch.stack(x), torch.stack(y))
        return Episode(rows, rows, Reals(1))
