"""CIFAR-FS and FC100: the 100 classes of CIFAR-100, 600 pictures each, 32×32, split for few-shot
learning in two ways.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.describe import Described
from quickstudy.core.errors import DataError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.archives import cached
from quickstudy.data.brought import (
    SPLITS,
    check_published,
    check_whole,
    content_of,
    fingerprint,
    located,
    names_in,
    pictures_by_folder,
    read_pictures,
    split_table,
)
from quickstudy.data.class_index import ClassDataset, ClassIndex, check_disjoint
from quickstudy.data.episodes import Episodes
from quickstudy.data.images import ImageFormat
from quickstudy.data.locations import cache_folder
from quickstudy.data.plain_pickle import array_of, read_plain_pickle, text_of

_SIZE, _EACH = 32, 600
# Of the channels, in units of 0 … 255, as in MetaOptNet's data/CIFAR_FS.py.
_MEAN = (129.37731888 / 255, 124.10583864 / 255, 112.47758569 / 255)
_STD = (68.20947949 / 255, 65.43124043 / 255, 70.45866994 / 255)
# As TensorFlow Datasets (url_checksums/cifar100.txt) and torchvision (cifar.py) keep them.
_PUBLISHED = {
    "cifar-100-binary.tar.gz": (
        "sha256",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    "cifar-100-python.tar.gz": ("md5", "eb9058c3a382ffc7106e4002c42a8d85"),
}
_CIFAR_100 = (
    "cifar-100-binary.tar.gz",
    "cifar-100-python.tar.gz",
    "cifar-100-binary",
    "cifar-100-python",
    "cifar100.zip",
    "cifar100",
)


class AbstractCifar100Split(Described, AbstractData):
    """The classes of CIFAR-100, dealt out as one paper does. Training and test pictures of
    CIFAR-100 are taken together.

    Args:
        path: of the file or folder; empty = looked for in the data folder.
        check: refuse an archive with another checksum than was published, and data that are not
            whole. Without it, data that are not whole are taken, as splits called ``own``.
    """

    shape = (3, _SIZE, _SIZE)
    image_format = ImageFormat(size=_SIZE, channels=3, mean=_MEAN, std=_STD).to_json()
    _authors: str
    _files: tuple[str, ...]
    _caches: str

    def __init__(self, *, path: str = "", check: bool = True) -> None:
        self.path, self.check = path, check

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val``, ``trainval`` or ``test``.

        Raises:
            DataError: for files that are missing, incomplete, damaged or of another form.
        """
        everything, lists, authors = self._content
        lists = {**lists, "trainval": lists["train"] + lists["val"]}
        if name not in lists:
            raise DataError(f"{self.name} has no split '{name}'. {did_you_mean(name, lists)}")
        return everything.only(lists[name], split=f"{authors}/{name}")

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    @cached_property
    def _content(self) -> tuple[ClassDataset, dict[str, list[str]], str]:
        """All pictures, the classes of each split, and who split them."""
        path = located(
            self.path,
            (*self._files, *_CIFAR_100),
            what=self.name,
            forms=f"cifar-100-binary.tar.gz or cifar-100-python.tar.gz as CIFAR-100's authors "
            f"publish them, a zip or a folder with a folder per class, or a zip or a folder with "
            f"{self._caches}_train.pickle, {self._caches}_val.pickle and "
            f"{self._caches}_test.pickle",
        )
        names = names_in(path)
        table = {row["class"]: row[self.name] for row in split_table("cifar-100.csv")}
        cache_files = [f"{self._caches}_{split}.pickle" for split in SPLITS]
        ends = {PurePosixPath(n).name for n in names}
        stored = cached(
            cache_folder() / f"{self.name}-{fingerprint(path)}.tensors",
            lambda: self._read(path, names, set(cache_files) <= ends),
        )
        # The class of each picture, or, of the pickles by split, the split and a number.
        if "split" in stored:
            labels = [
                f"{SPLITS[int(s)]}-{int(c):02}"
                for s, c in zip(stored["split"], stored["label"], strict=True)
            ]
            lists = {s: sorted({n for n in labels if n.startswith(f"{s}-")}) for s in SPLITS}
            sizes = {s: sum(name == s for name in table.values()) for s in SPLITS}
            whole = {s: len(names) for s, names in lists.items()} == sizes
            expected: dict[str, int | None] = dict.fromkeys(sorted(set(labels)), _EACH)
        else:
            known = sorted(table)
            labels = [known[int(c)] for c in stored["label"]]
            present = set(labels)
            lists = {s: [c for c in known if table[c] == s and c in present] for s in SPLITS}
            whole = present == set(known)
            expected = dict.fromkeys(known, _EACH)
        if self.check:
            check_whole(labels, expected, path)
        counts = Counter(labels)
        whole = whole and all(counts[name] == n for name, n in expected.items())
        classes = sorted(set(labels))
        number = {name: c for c, name in enumerate(classes)}
        check_disjoint(lists)
        data = ClassDataset(
            self.name,
            "all",
            stored["x"],
            ClassIndex([number[label] for label in labels], classes),
            mean=_MEAN,
            std=_STD,
        )
        return data, lists, self._authors if whole else "own"

    def _read(self, path: Path, names: Sequence[str], by_split: bool) -> dict[str, Tensor]:
        if self.check:
            check_published(path, _PUBLISHED)
        if by_split:
            return _split_pickles(path, self._caches)
        bases = {PurePosixPath(name).name for name in names}
        if {"train.bin", "test.bin"} <= bases:
            x, labels = _binary(path)
        elif {"train", "test", "meta"} <= bases:
            x, labels = _python(path)
        else:
            known = {row["class"] for row in split_table("cifar-100.csv")}
            of_file = pictures_by_folder(names)
            class_of = {name: c for name, c in of_file.items() if c in known}
            if not class_of:
                raise DataError(
                    f"{path} holds neither CIFAR-100's files (train.bin, test.bin; or train, "
                    f"test, meta), nor {self._caches}_train.pickle, nor folders with images "
                    f"that are called like the classes (apple, aquarium_fish …); it holds "
                    f"{', '.join(names[:3]) or 'nothing'}."
                )
            x, labels = read_pictures(path, class_of, ImageFormat(_SIZE, 3))
        number = {n: c for c, n in enumerate(sorted(r["class"] for r in _table()))}
        unknown = sorted(set(labels) - set(number))
        if unknown:
            raise DataError(
                f"{path} has classes that CIFAR-100 does not have: {', '.join(unknown[:5])}."
            )
        return {"x": x, "label": torch.tensor([number[label] for label in labels])}


def _table() -> list[dict[str, str]]:
    return split_table("cifar-100.csv")


def _binary(path: Path) -> tuple[Tensor, list[str]]:
    """Records of a superclass, a class, and 3 × 32 × 32 bytes."""
    names = content_of(path, "fine_label_names.txt").decode("utf-8").split()
    parts = []
    for file in ("train.bin", "test.bin"):
        content = content_of(path, file)
        if len(content) % (2 + 3 * _SIZE**2):
            raise DataError(
                f"{path}: {file} has {len(content):,} bytes, no multiple of "
                f"{2 + 3 * _SIZE**2:,}. It is damaged; fetch it again."
            )
        parts.append(np.frombuffer(content, np.uint8).reshape(-1, 2 + 3 * _SIZE**2))
    records = np.concatenate(parts)
    x = records[:, 2:].reshape(-1, 3, _SIZE, _SIZE).copy()
    return torch.from_numpy(x), _named(records[:, 1], names, path)


def _python(path: Path) -> tuple[Tensor, list[str]]:
    """Pickles of dictionaries with ``data``, [M 3072], and ``fine_labels``."""
    meta = read_plain_pickle(content_of(path, "meta"), f"{path}: meta")
    names = [text_of(name) for name in _entry(meta, "fine_label_names", f"{path}: meta")]
    images, labels = [], []
    for file in ("train", "test"):
        title = f"{path}: {file}"
        content = read_plain_pickle(content_of(path, file), title)
        images.append(_pixels(_entry(content, "data", title), title))
        labels.append(array_of(_entry(content, "fine_labels", title), title))
        _check_length(images[-1], labels[-1], title)
    return torch.cat(images), _named(np.concatenate(labels), names, path)


def _split_pickles(path: Path, prefix: str) -> dict[str, Tensor]:
    """Pickles of one split each with ``data``, [M 32 32 3], and ``labels``, numbers."""
    x, labels, splits = [], [], []
    for number, split in enumerate(SPLITS):
        file = f"{prefix}_{split}.pickle"
        title = f"{path}: {file}"
        content = read_plain_pickle(content_of(path, file), title)
        x.append(_pixels(_entry(content, "data", title), title))
        labels.append(torch.from_numpy(array_of(_entry(content, "labels", title), title) + 0))
        _check_length(x[-1], labels[-1], title)
        splits.append(torch.full((len(x[-1]),), number))
    return {"x": torch.cat(x), "label": torch.cat(labels).long(), "split": torch.cat(splits)}


def _entry(content: Any, key: str, title: str) -> Any:
    if not isinstance(content, dict) or key not in content:
        keys = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{title} must be a dictionary with '{key}', but has {keys}.")
    return content[key]


def _pixels(value: Any, title: str) -> Tensor:
    """Bytes as [M 3 32 32], of [M 3072] by channels or [M 32 32 3]."""
    array = array_of(value, title)
    if array.dtype == np.uint8 and array.shape[1:] == (3 * _SIZE**2,):
        array = array.reshape(-1, 3, _SIZE, _SIZE)
    elif array.dtype == np.uint8 and array.shape[1:] == (_SIZE, _SIZE, 3):
        array = array.transpose(0, 3, 1, 2)
    else:
        raise DataError(
            f"{title} must hold bytes of the shape [M 3072] or [M 32 32 3], but holds "
            f"{array.dtype} of the shape {list(array.shape)}."
        )
    return torch.from_numpy(np.array(array, order="C"))


def _check_length(x: Tensor, labels: NDArray[np.integer] | Tensor, title: str) -> None:
    if len(x) != len(labels):
        raise DataError(f"{title} has {len(x):,} images and {len(labels):,} labels.")


def _named(labels: NDArray[np.integer], names: Sequence[str], path: Path) -> list[str]:
    numbers = [int(label) for label in labels]
    if numbers and not 0 <= min(numbers) <= max(numbers) < len(names):
        raise DataError(
            f"{path} has labels from {min(numbers)} to {max(numbers)} for {len(names)} names of "
            "classes. It is damaged; fetch it again."
        )
    return [names[label] for label in numbers]


class CifarFS(AbstractCifar100Split):
    """CIFAR-FS: the classes of CIFAR-100, dealt out at random: 64 / 16 / 20.

    Args:
        path, check: as of `AbstractCifar100Split`.

    Raises:
        DataError: from `split` and `tasks`, when the files are missing, incomplete, damaged or of
            another form.

    Source: Bertinetto, Henriques, Torr, Vedaldi 2019, arXiv:1805.08136; the list as in torchmeta
        (assets/cifar100/cifar-fs), whose validation and test classes agree with two other
        public copies.
    """

    name = "cifar-fs"
    _authors = "bertinetto"
    _files = ("cifar-fs.zip", "CIFAR-FS.zip", "cifarfs.zip", "CIFAR_FS.zip", "cifar-fs", "CIFAR_FS")
    _caches = "CIFAR_FS"


class FC100(AbstractCifar100Split):
    """FC100: the classes of CIFAR-100, dealt out by superclass, so that no split holds classes
    alike: 60 / 20 / 20 classes of 12 / 4 / 4 superclasses.

    Args:
        path, check: as of `AbstractCifar100Split`.

    Raises:
        DataError: from `split` and `tasks`, when the files are missing, incomplete, damaged or of
            another form.

    Source: Oreshkin, Rodríguez, Lacoste 2018, arXiv:1805.10123, supplement; the list as in
        torchmeta (assets/cifar100/fc100), which agrees with TADAM's script (superclasses 8, 11, 13,
        16 for validation and 0, 7, 12, 14 for testing).
    """

    name = "fc100"
    _authors = "oreshkin"
    _files = ("fc100.zip", "FC100.zip", "fc100", "FC100")
    _caches = "FC100"
