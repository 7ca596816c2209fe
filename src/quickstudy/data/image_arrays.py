"""Own images in memory: arrays, tensors, or a data set of torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.core.words import counted
from quickstudy.data.class_index import ClassDataset, ClassIndex, check_disjoint
from quickstudy.data.class_split import enough_examples, split_named, splits_of
from quickstudy.data.episodes import Episodes
from quickstudy.data.image_files import into_range
from quickstudy.data.images import ImageFormat
from quickstudy.data.vectors import numbered_classes

_CHANNELS = (1, 3)


class ImageArrays(AbstractData):
    """Labelled images in memory, their classes split into ``train``, ``val`` and ``test``.

    Args:
        x: [M C H W], [M H W C] with 1 or 3 channels, or [M H W]: uint8 (0 … 255), or floats
            between 0 and 1.
        y: [M], labels of any kind: whole numbers, text, … A class is named as its label is printed.
        name: as printed with results.
        mean, std: of the channels, in units of 0 … 1: learners see (x − mean) / std.
        val, test: the share of the classes in these splits, see `split_classes`.
        splits: the names of the classes of each split, in the place of shares.
        seed: of the split by shares.
        min_per_class: classes with fewer images are left out.

    Raises:
        ConfigError: for shares beside splits.
        DataError: for arrays of other shapes or values, for a missing label, and for splits that
            share a class or name one that is not there.

    Example:
        >>> images = np.zeros((6, 28, 28), np.uint8)
        >>> data = ImageArrays(images, ["a", "a", "b", "b", "c", "c"], val=0.0, test=0.3)
        >>> data.shape, data.split("train").index.names
        ((1, 28, 28), ('b', 'c'))
    """

    def __init__(
        self,
        x: ArrayLike | Tensor,
        y: ArrayLike | Tensor,
        *,
        name: str = "images",
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        val: float = 0.2,
        test: float = 0.2,
        splits: Mapping[str, Sequence[str]] | None = None,
        seed: int = 0,
        min_per_class: int = 1,
    ) -> None:
        images = _images(x)
        labels, names = numbered_classes(y.cpu().numpy() if isinstance(y, Tensor) else y)
        if len(images) != len(labels):
            raise DataError(
                f"x has {counted(len(images), 'image')} but y has "
                f"{counted(len(labels), 'label')}. Give one label per "
                "image."
            )
        data = ClassDataset(
            name,
            "arrays/all",
            images,
            ClassIndex(labels, names),
            mean=tuple(map(float, mean)),
            std=tuple(map(float, std)),
        )
        data, self.left_out = enough_examples(data, min_per_class)
        if splits is None:
            self._splits = splits_of(data, prefix="arrays", val=val, test=test, seed=seed)
        else:
            check_disjoint({split: list(classes) for split, classes in splits.items()})
            self._splits = {
                split: data.only(classes, split=f"arrays/{split}")
                for split, classes in splits.items()
            }
        self.name = name
        self.shape = tuple(images.shape[1:])

    def split(self, name: str) -> ClassDataset:
        """The classes of one split."""
        return split_named(self._splits, name, data=self.name)

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)


def from_dataset(
    dataset: "Dataset[Any] | Sequence[Any]",
    *,
    size: int = 0,
    channels: int = 3,
    invert: bool = False,
    fit: str = "crop",
    class_names: Sequence[str] | None = None,
    name: str = "",
    **options: Any,
) -> ImageArrays:
    """A map-style torch ``Dataset`` of (image, label) as a data source; it is read once, into
    memory.

    Few-shot learning needs classes that training has not seen, so the classes are split, whatever
    part of its own the data set is: join several with ``torch.utils.data.ConcatDataset``.

    Args:
        dataset: of pairs of an image and a label. An image is a Pillow image, or an array or a
            tensor as `ImageArrays` takes them; a label is a whole number or a text.
        size, channels, invert, fit: Pillow images become squares of this size, see `ImageFormat`;
            0 = as they are, which must then be of one size.
        class_names: by the number of the class; None = the data set's own ``classes``, if it has
            them.
        name: as printed with results; empty = the type of the data set.
        options: as of `ImageArrays`.

    Raises:
        DataError: for a data set without a length or without pairs, and images of several sizes.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> pairs = TensorDataset(torch.rand(8, 1, 28, 28), torch.arange(8) // 2)
        >>> from_dataset(pairs, test=0.25, val=0.0).split("train").x.shape
        torch.Size([6, 1, 28, 28])
    """
    try:
        n = len(dataset)  # pyright: ignore[reportArgumentType] - Dataset does not promise a length
    except TypeError as error:
        raise DataError(
            f"{type(dataset).__name__} has no length. Tasks need examples by number: give a "
            "map-style data set."
        ) from error
    if not n:
        raise DataError(f"{type(dataset).__name__} is empty. Give at least two classes of images.")
    fmt = ImageFormat(size, channels, invert, fit) if size else None
    images: list[Tensor] = []
    labels: list[Any] = []
    for i in range(n):
        item = dataset[i]
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise DataError(
                f"Item {i} of {type(dataset).__name__} is {type(item).__name__}, but pairs of an "
                "image and a label are needed."
            )
        images.append(_image(item[0], fmt, i))
        labels.append(item[1].item() if isinstance(item[1], Tensor | np.generic) else item[1])
        if images[i].shape != images[0].shape:
            raise DataError(
                f"Images must be of one size, but image 0 is {_sides(images[0])} and image {i} is "
                f"{_sides(images[i])}. Resize them in the data set's transform, or give size=84 "
                "for Pillow images."
            )
    known = class_names or getattr(dataset, "classes", None)
    return ImageArrays(
        torch.stack(images),
        _named(labels, known),
        name=name or type(dataset).__name__.lower(),
        **options,
    )


def _images(x: ArrayLike | Tensor) -> Tensor:
    """[M C H W], as bytes or as floats between 0 and 1."""
    images = x.detach().cpu() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
    if images.ndim == 3:
        images = images[:, None]
    shape = tuple(images.shape)
    if len(shape) != 4 or 0 in shape:
        raise DataError(
            "x must hold images, [M C H W], [M H W C] or [M H W], but has the shape "
            f"{list(shape)}. One image alone is x[None]."
        )
    if shape[1] not in _CHANNELS and shape[3] in _CHANNELS:
        images = images.permute(0, 3, 1, 2)
    elif shape[1] not in _CHANNELS:
        raise DataError(
            f"Images have 1 or 3 channels, but x has the shape {list(shape)}. Put the channels "
            "second, [M C H W], or last, [M H W C]."
        )
    if images.dtype in (torch.uint8, torch.bool):
        return (images.to(torch.uint8) * (255 if images.dtype == torch.bool else 1)).contiguous()
    if not images.is_floating_point():
        numbers = images.double()  # torch finds no extremes of uint16
        low, high = float(numbers.min()), float(numbers.max())
        raise DataError(
            f"Images are uint8 (0 … 255) or floats (0 … 1), but x has dtype {images.dtype}, with "
            f"values from {low:.0f} to {high:.0f}. {into_range(low, high)}"
        )
    if not bool(images.isfinite().all()):
        n = int((~images.isfinite()).flatten(1).any(1).sum())
        raise DataError(
            f"Of {counted(len(images), 'image')} {n} hold values that are not finite numbers. "
            "Replace these values, or leave the images out."
        )
    low, high = float(images.min()), float(images.max())
    if not 0 <= low <= high <= 1:
        raise DataError(
            f"Images as floats lie between 0 and 1, but x runs from {low:.4g} to {high:.4g}. "
            f"{into_range(low, high)} In the place of a normalisation give mean and std."
        )
    return images.float().contiguous()


def _image(image: Any, fmt: ImageFormat | None, number: int) -> Tensor:
    if isinstance(image, Image.Image) and fmt is not None:
        return fmt.convert(image)
    if isinstance(image, Image.Image):
        image = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.array(image))
    if not isinstance(image, Tensor):
        raise DataError(
            f"Image {number} is {type(image).__name__}, but a Pillow image, an array or a tensor "
            "is needed. Change the data set's transform."
        )
    return image[0] if image.ndim == 3 and len(image) == 1 else image


def _sides(image: Tensor) -> str:
    return " × ".join(map(str, image.shape))


def _named(labels: list[Any], names: Sequence[str] | None) -> list[Any]:
    if names is None:
        return labels
    numbers = {label for label in labels if isinstance(label, int)}
    if len(numbers) != len(set(labels)) or not numbers <= set(range(len(names))):
        raise ConfigError(
            f"There are {len(names)} class names, but the labels are not numbers below that: "
            f"{sorted(map(str, set(labels)))[:5]}. Give class_names with one name per number."
        )
    return [names[label] for label in labels]
