"""tieredImageNet: 608 classes of ImageNet in 34 categories, 84×84; no category is in two splits."""

import io
import mmap
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Described
from quickstudy.core.errors import DataError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.brought import (
    SPLITS,
    check_whole,
    contents,
    fingerprint,
    located,
    mapped_pixels,
    names_in,
    pictures_by_folder,
    split_table,
)
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.episodes import Episodes
from quickstudy.data.image_files import opened_image, reading
from quickstudy.data.images import ImageFormat
from quickstudy.data.plain_pickle import array_of, read_plain_pickle

_SIZE = 84
# Mean and standard deviation of the channels over ImageNet, as torchvision publishes them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PICTURES = {"train": 448_695, "val": 124_261, "test": 206_209}
_FILES = ("tiered-imagenet", "tiered_imagenet", "tieredimagenet", "tieredImageNet")


class TieredImageNet(Described, AbstractData):
    """tieredImageNet, split 351 / 97 / 160 classes of 20 / 6 / 8 categories.

    The pixels of a split (train: 9.5 GB) are written into the cache folder once and mapped from
    there, so they need not fit in memory.

    Args:
        path: of the folder, or of an archive of folders; empty = looked for in the data folder.
        check: refuse data that are not whole. Without it they are taken, as splits called ``own``.

    Raises:
        DataError: from `split` and `tasks`, when the files are missing, incomplete, damaged or of
            another form.

    Source: Ren et al. 2018, arXiv:1803.00676; the lists of its authors (few-shot-ssl-public,
        l2kl/data/tiered_imagenet_split); the numbers of pictures as learn2learn states them.
    """

    name, shape = "tiered-imagenet", (3, _SIZE, _SIZE)
    image_format = ImageFormat(size=_SIZE, channels=3, mean=_MEAN, std=_STD).to_json()

    def __init__(self, *, path: str = "", check: bool = True) -> None:
        self.path, self.check = path, check

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val`` or ``test``."""
        if name not in SPLITS:
            raise DataError(f"tieredImageNet has no split '{name}'. {did_you_mean(name, SPLITS)}")
        files = {PurePosixPath(file).name for file in self._names}
        if f"{name}_labels.pkl" in files:
            return self._of_cache(name, files)
        return self._of_folders(name)

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    @cached_property
    def _location(self) -> Path:
        return located(
            self.path,
            _FILES,
            what="tieredImageNet",
            forms="a folder with train_images_png.pkl (or train_images.npz), train_labels.pkl and "
            "so on, as its authors' and MetaOptNet's archives unpack; or a folder, zip or tar with "
            "a folder of images per class (n01530575 …), as ImageNet's training images lie",
        )

    @cached_property
    def _names(self) -> list[str]:
        return names_in(self._location)

    def _of_folders(self, split: str) -> ClassDataset:
        classes = [
            r["class"] for r in split_table("tiered-imagenet-ren.csv") if r["split"] == split
        ]
        known = set(classes)
        class_of = {n: c for n, c in pictures_by_folder(self._names).items() if c in known}
        if not class_of:
            raise DataError(
                f"{self._location} holds neither {split}_labels.pkl nor folders with images "
                f"called like the classes of {split} ({classes[0]} …)."
            )
        if self.check:
            check_whole(list(class_of.values()), dict.fromkeys(classes), self._location)
        order = sorted(class_of, key=lambda n: (class_of[n], PurePosixPath(n).name))
        row = {n: i for i, n in enumerate(order)}
        fmt = ImageFormat(_SIZE, 3)

        def fill(pixels: NDArray[np.uint8]) -> None:
            for file, content in contents(self._location, row.__contains__):
                title = f"{self._location}: {file}"
                pixels[row[file]] = fmt.decode(io.BytesIO(content), name=title).numpy()

        return self._dataset(split, [class_of[n] for n in order], len(classes), fill)

    def _of_cache(self, split: str, files: set[str]) -> ClassDataset:
        """Labels as numbers, and pictures as PNG files or as pixels."""
        if not self._location.is_dir():
            raise DataError(
                f"{self._location}: pickles of tieredImageNet are read from a folder, as they are "
                "too large to be taken from an archive. Unpack it."
            )
        content = self._pickle(f"{split}_labels.pkl")
        key = "label_specific" if "label_specific" in content else "labels"
        if key not in content:
            raise DataError(
                f"{self._location}: {split}_labels.pkl must hold 'label_specific' or 'labels', but "
                f"holds {sorted(map(str, content))}."
            )
        numbers = array_of(content[key], f"{split}_labels.pkl")
        labels = [f"{split}-{int(n):03}" for n in numbers]
        compressed = f"{split}_images_png.pkl"
        pixels_file = f"{split}_images.npz"

        def fill(pixels: NDArray[np.uint8]) -> None:
            if compressed in files:
                self._from_png(compressed, pixels)
            elif pixels_file in files:
                # Beside 'label_specific' lie the pixels that OpenCV decoded: blue comes first.
                self._from_npz(pixels_file, pixels, blue_first=key == "label_specific")
            else:
                raise DataError(
                    f"{self._location} holds {split}_labels.pkl but neither {compressed} nor "
                    f"{pixels_file}. It is incomplete."
                )

        wanted = sum(r["split"] == split for r in split_table("tiered-imagenet-ren.csv"))
        return self._dataset(split, labels, wanted, fill)

    def _dataset(self, split: str, labels: list[str], n_classes: int, fill: Any) -> ClassDataset:
        names = sorted(set(labels))
        whole = len(names) == n_classes and len(labels) == _PICTURES[split]
        if self.check and not whole:
            raise DataError(
                f"{self._location}: {split} has {len(labels):,} images of {len(names)} classes "
                f"where {_PICTURES[split]:,} of {n_classes} were published. Unpack or fetch it "
                "again, or take it as it is with check=False; its splits are then called own."
            )
        shape = (len(labels), *self.shape)
        file = f"tiered-imagenet-{split}-{fingerprint(self._location)}"
        x: Tensor = mapped_pixels(file, shape, fill)
        number = {name: c for c, name in enumerate(names)}
        return ClassDataset(
            self.name,
            f"{'ren' if whole else 'own'}/{split}",
            x,
            ClassIndex([number[label] for label in labels], names),
            mean=_MEAN,
            std=_STD,
        )

    def _file(self, name: str) -> Path:
        (file,) = [n for n in self._names if PurePosixPath(n).name == name][:1]
        return self._location / file

    def _pickle(self, name: str) -> Mapping[str, Any]:
        content = self._read_mapped(name)
        if not isinstance(content, dict):
            raise DataError(
                f"{self._file(name)} must be a dictionary, but is {type(content).__name__}."
            )
        return content

    def _read_mapped(self, name: str) -> Any:
        file = self._file(name)
        with file.open("rb") as stream:
            if not file.stat().st_size:
                raise DataError(f"{file} is empty. Fetch it again.")
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            # Not closed here: the pictures are views of it.
            return read_plain_pickle(memoryview(content), str(file))

    def _from_png(self, name: str, pixels: NDArray[np.uint8]) -> None:
        pictures = self._read_mapped(name)
        if not isinstance(pictures, list) or len(pictures) != len(pixels):
            count = len(pictures) if isinstance(pictures, list) else 0
            raise DataError(
                f"{self._file(name)} holds {count:,} images for {len(pixels):,} labels."
            )
        for i, picture in enumerate(pictures):
            title = f"{self._file(name)}: image {i:,}"
            content = io.BytesIO(array_of(picture, title).astype(np.uint8).tobytes())
            with opened_image(content, title) as opened, reading(title):
                image = opened.convert("RGB")
            if image.size != (_SIZE, _SIZE):
                image = image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)
            pixels[i] = np.asarray(image).transpose(2, 0, 1)

    def _from_npz(self, name: str, pixels: NDArray[np.uint8], *, blue_first: bool) -> None:
        file = self._file(name)
        try:
            with np.load(file, allow_pickle=False) as content:
                images = content["images"]
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{file} must hold an array 'images' of bytes: {error}. Fetch it again."
            ) from error
        wanted = (len(pixels), _SIZE, _SIZE, 3)
        if images.dtype != np.uint8 or images.shape != wanted:
            raise DataError(
                f"{file} holds {images.dtype} of the shape {list(images.shape)} where bytes of "
                f"the shape {list(wanted)} are needed."
            )
        images = images[..., ::-1] if blue_first else images
        pixels[:] = images.transpose(0, 3, 1, 2)
