"""Zero-shot tasks: the support of a class is a vector that describes it, and its queries are
examples.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from functools import cache, cached_property
from importlib import resources
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, DataError, EpisodeError, did_you_mean
from quickstudy.core.rng import uniform
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.types import Episode, Examples
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.episodes import Episodes

_SPLITS = ("train", "val", "test")


class SemanticEpisodes(AbstractTasks):
    """N-way tasks without a shot: their support holds one semantic vector of each class.

    Classes and queries are those of the 1-shot tasks that `Episodes` draws from the same data with
    the same seed, number by number, so that description and example can be compared in pairs.

    Args:
        data: the examples.
        vectors: what describes each class, in the order of ``data.index.names``.
        setting: the size of a task, with n_shot = 1: one vector per class.
        seed: of the stream.

    Raises:
        EpisodeError: when vectors and classes do not fit together, or the setting asks for what
            such tasks do not have.

    Example:
        >>> data = ClassDataset(
        ...     "toy",
        ...     "all",
        ...     torch.zeros(6, 4),
        ...     ClassIndex([0, 0, 1, 1, 2, 2], ["oak", "elm", "fir"]),
        ... )
        >>> task = SemanticEpisodes(
        ...     data, torch.eye(3), Setting(n_way=2, n_shot=1, n_query=1)
        ... ).batch([0])
        >>> task.support.x.shape, task.query.x.shape
        (torch.Size([1, 2, 3]), torch.Size([1, 2, 4]))
    """

    def __init__(
        self,
        data: ClassDataset,
        vectors: Float[Tensor, "classes A"],
        setting: Setting,
        *,
        seed: int = 0,
    ) -> None:
        if vectors.ndim != 2 or len(vectors) != len(data.index):
            raise EpisodeError(
                f"{data.name}/{data.split} has {len(data.index)} classes, but the semantic vectors "
                f"have shape {tuple(vectors.shape)}. "
                "Give one vector per class, in the order of data.index.names."
            )
        if setting.n_shot != 1 or setting.n_unlabelled or setting.labelled < 1:
            raise EpisodeError(
                "A zero-shot task has one semantic vector per class and no unlabelled example, so "
                f"it needs n_shot = 1, got {setting!r}."
            )
        self._drawn = Episodes(data, setting, seed=seed)
        self.vectors, self.setting, self.seed = vectors, setting, seed
        self.data, self.split, self.split_hash = data.name, data.split, data.split_hash

    def to(self, device: torch.device | str) -> Self:
        return type(self)(
            self._drawn.dataset.to(device), self.vectors.to(device), self.setting, seed=self.seed
        )

    def batch(self, numbers: Sequence[int]) -> Episode:
        drawn = self._drawn.batch(numbers)
        assert drawn.classes is not None
        order = drawn.support.y  # [T C], the classes in random order
        described = self.vectors[drawn.classes.gather(1, order)]  # [T C A]
        return Episode(Examples(described, order), drawn.query, drawn.target, drawn.classes)


class Attributes(Described, AbstractData):
    """Classes that differ in yes-or-no attributes: an example is a fixed random linear map of its
    class's attributes, and noise.

    Tasks are zero-shot: their support holds the classes' attributes, −1 or 1. No two classes are
    alike, also across splits, so the classes of validation and test are unseen. It stands in for
    data such as CUB with its attributes.

    Args:
        n_attributes: A.
        dim: of an example.
        classes: of training, validation and test.
        n_examples: of each class.
        noise: standard deviation; that of an example without noise is 1.
        seed: of everything.

    Raises:
        ConfigError: for sizes that make no data.

    Example:
        >>> task = Attributes().tasks("test", Setting(n_way=50, n_shot=1, n_query=2)).batch([0])
        >>> task.support.x.shape, task.query.x.shape
        (torch.Size([1, 50, 40]), torch.Size([1, 100, 128]))
    """

    name = "attributes"

    def __init__(
        self,
        *,
        n_attributes: int = 40,
        dim: int = 128,
        classes: Sequence[int] = (100, 50, 50),
        n_examples: int = 30,
        noise: float = 2.0,
        seed: int = 0,
    ) -> None:
        if len(classes) != 3 or min(n_attributes, dim, n_examples, *classes) < 1 or noise < 0:
            raise ConfigError(
                "Attributes needs 3 numbers of classes, all sizes at least 1 and noise of at "
                f"least 0, got n_attributes={n_attributes}, dim={dim}, "
                f"classes={classes}, n_examples={n_examples} and noise={noise}."
            )
        if sum(classes) > 2 ** min(n_attributes, 60) // 2:
            raise ConfigError(
                f"{n_attributes} attributes are too few to tell {sum(classes)} classes apart. "
                "Raise n_attributes or lower classes."
            )
        self.n_attributes = n_attributes
        self.dim = dim
        self.classes = tuple(classes)
        self.n_examples = n_examples
        self.noise = noise
        self.seed = seed
        self.shape = (dim,)

    def split(self, name: str) -> ClassDataset:
        """The examples of ``train``, ``val`` or ``test``."""
        classes = self._classes(name)
        description = hashlib.sha256(
            repr((self.n_attributes, self.dim, self.classes, self.noise, self.seed)).encode()
        ).hexdigest()[:6]
        attributes = self._attributes[classes.start : classes.stop].double().numpy()
        mean = (
            attributes
            @ self._normal(self.n_attributes * self.dim, "map").reshape(self.n_attributes, self.dim)
            / np.sqrt(self.n_attributes)
        )
        noise = self._normal(len(classes) * self.n_examples * self.dim, "noise", name).reshape(
            -1, self.dim
        )
        x = np.repeat(mean, self.n_examples, 0) + self.noise * noise
        names = [f"{description}/class{c:03}" for c in classes]
        labels = np.repeat(np.arange(len(classes)), self.n_examples)
        return ClassDataset(
            self.name,
            f"random/{name}",
            torch.from_numpy(x.astype(np.float32)),
            ClassIndex(labels, names),
        )

    def vectors(self, split: str) -> Float[Tensor, "classes A"]:
        """The attributes of a split's classes."""
        classes = self._classes(split)
        return self._attributes[classes.start : classes.stop]

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return SemanticEpisodes(self.split(split), self.vectors(split), setting, seed=seed)

    def _classes(self, split: str) -> range:
        if split not in _SPLITS:
            raise DataError(f"attributes has no split '{split}'. {did_you_mean(split, _SPLITS)}")
        at = _SPLITS.index(split)
        return range(sum(self.classes[:at]), sum(self.classes[: at + 1]))

    @cached_property
    def _attributes(self) -> Float[Tensor, "classes A"]:
        rows: dict[bytes, NDArray[np.bool_]] = {}
        at = 0
        while len(rows) < sum(self.classes):
            row = uniform(self.n_attributes, self.name, self.seed, "class", at) < 0.5
            rows.setdefault(row.tobytes(), row)
            at += 1
        return torch.from_numpy(
            np.where(np.stack(list(rows.values())), 1.0, -1.0).astype(np.float32)
        )

    def _normal(self, n: int, *purpose: str) -> NDArray[np.float64]:
        from scipy.special import ndtri

        return ndtri(np.clip(uniform(n, self.name, self.seed, *purpose), 1e-16, None))


@cache
def mini_imagenet_names() -> dict[str, str]:
    """What the 100 classes of miniImageNet are called in WordNet, synonyms separated by commas.

    >>> mini_imagenet_names()["n02129165"]
    'lion, king of beasts, Panthera leo'
    """
    text = (resources.files("quickstudy.data") / "splits" / "mini-imagenet-names.csv").read_text(
        encoding="utf-8"
    )
    return {row["class"]: row["name"] for row in csv.DictReader(io.StringIO(text))}
