"""Image completion: from some pixels of an image the others are to be predicted."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, EpisodeError, did_you_mean
from quickstudy.core.rng import generator, uniform
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.types import Episode, Examples, Reals
from quickstudy.data.class_index import ClassDataset
from quickstudy.data.episodes import Episodes

_BLOCK = 16


class ImageCompletion(Described, AbstractData):
    """A task is one image of other data, as a function from the place of a pixel to its values;
    from some pixels the image is to be predicted, with its uncertainty.

    x is row and column of a pixel between −1 and 1, y its channels between 0 and 1. The splits are
    those of the data, so the images of one split show no class of another.

    Args:
        of: the name of the data, as in ``DATA``.
        options: its options.
        most: 0 = as many known pixels as the setting says; otherwise their number is drawn from
            3 … most, the same for 16 tasks in a row (0 … 15, 16 … 31, …), which make one batch.

    Raises:
        ConfigError: for data that there is not, or that holds no images, or a ``most`` of 1 … 3.

    Example:
        >>> data = ImageCompletion("glyphs", {"drawings": 2})
        >>> episode = data.tasks("test", Setting(n_way=0, n_shot=40, n_query=784)).batch([0, 1])
        >>> episode.support.x.shape, episode.query.y.shape, episode.target
        (torch.Size([2, 40, 2]), torch.Size([2, 784, 1]), Reals(dim=1))

    Paper: Garnelo et al. 2018, arXiv:1807.01613, section 4.2.
    """

    name, shape = "image_completion", (2,)

    def __init__(
        self, of: str = "glyphs", options: Mapping[str, Any] | None = None, *, most: int = 0
    ) -> None:
        from quickstudy.data import DATA

        if of not in DATA or of == "image_completion":
            raise ConfigError(f"No data is called '{of}'. {did_you_mean(of, DATA)}")
        if most and most < 4:
            raise ConfigError(f"most is 0, or at least 4 known pixels, got {most}.")
        self._data = DATA[of](**(options or {}))
        if len(self._data.shape) != 3:
            raise ConfigError(
                f"{of} holds no images: its examples have the shape {self._data.shape}. Take data "
                "of images, e.g. glyphs or omniglot."
            )
        self.most = most

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> "ImageCompletionTasks":
        """The stream of one split.

        Raises:
            ConfigError: for data without classes.
        """
        labelled = self._data.tasks(split, Setting(1, 1, 1), seed=seed)
        if not isinstance(labelled, Episodes):
            raise ConfigError(f"{self._data.name} is no set of single images with classes.")
        return ImageCompletionTasks(labelled.dataset, setting, most=self.most, seed=seed)


class ImageCompletionTasks(AbstractTasks):
    """The stream of images. Task ``i`` depends on (images, setting, most, seed, i) alone.

    Known pixels and queries are drawn apart, so a query may be a known pixel; with as many queries
    as pixels they are all pixels.

    Args:
        dataset: the images.
        setting: with n_way = 0.
        most: as in `ImageCompletion`.
        seed: of the stream.

    Raises:
        TaskKindError: for a setting with classes.
        EpisodeError: for more pixels than an image has.
    """

    def __init__(
        self, dataset: ClassDataset, setting: Setting, *, most: int = 0, seed: int = 0
    ) -> None:
        pixels = dataset.x.shape[-2] * dataset.x.shape[-1]
        setting.check_regression("image_completion")
        if max(setting.n_shot, setting.n_query, most) > pixels:
            raise EpisodeError(
                f"An image of {dataset.name} has {pixels} pixels, but n_shot={setting.n_shot}, "
                f"n_query={setting.n_query} and most={most} were asked for."
            )
        self.dataset = dataset
        self.data = f"image_completion, {dataset.name}"
        self.split = dataset.split
        self.split_hash = dataset.split_hash
        self.setting = Setting(0, most or setting.n_shot, setting.n_query)
        self.seed = seed
        self.most = most
        self.uniform = not most
        self.block = _BLOCK

    def known(self, number: int) -> int:
        """How many known pixels a task has."""
        if not self.most:
            return self.setting.n_shot
        return _drawn_size(self.data, self.split, self.seed, self.most, int(number) // _BLOCK)

    def batch(self, numbers: Sequence[int]) -> Episode:
        """The tasks with these numbers.

        Raises:
            EpisodeError: when their numbers of known pixels differ.
        """
        sizes = {self.known(i) for i in numbers}
        if len(sizes) != 1:
            raise EpisodeError(
                f"Tasks with {sorted(sizes)} known pixels do not fit in one batch. Take numbers of "
                f"one block of {_BLOCK}."
            )
        n_known, n_query = sizes.pop(), self.setting.n_query
        tasks = [self._task(int(i), n_known, n_query) for i in numbers]
        x, y, asked_x, asked_y = (torch.stack(parts) for parts in zip(*tasks, strict=True))
        n_channels = y.shape[-1]
        return Episode(Examples(x, y), Examples(asked_x, asked_y), Reals(n_channels))

    def _task(self, number: int, n_known: int, n_query: int) -> tuple[Tensor, ...]:
        draw = generator(self.data, self.split, self.seed, "image", number)
        row = int(torch.randint(len(self.dataset.x), (1,), generator=draw))
        image = self.dataset.x[row].float() / 255  # [C H W]
        height, width = image.shape[-2:]
        places = torch.cartesian_prod(
            torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        )  # [HW 2]
        values = image.flatten(1).T
        known = torch.randperm(len(places), generator=draw)[:n_known]
        asked = torch.randperm(len(places), generator=draw)[:n_query]
        if n_query == len(places):
            asked = torch.arange(n_query)
        return places[known], values[known], places[asked], values[asked]


@functools.lru_cache(maxsize=64)
def _drawn_size(data: str, split: str, seed: int, most: int, block: int) -> int:
    return 3 + int(uniform(1, data, split, seed, "size", block)[0] * (most - 2))
