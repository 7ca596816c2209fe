"""miniImageNet: 100 classes of ImageNet, 600 pictures each, 84×84."""

import csv
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from quickstudy.core.describe import Described
from quickstudy.core.errors import DataError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.archives import member, opened_archive, prepared
from quickstudy.data.class_index import ClassDataset, ClassIndex, check_disjoint
from quickstudy.data.episodes import Episodes
from quickstudy.data.image_files import opened_image, reading
from quickstudy.data.images import ImageFormat
from quickstudy.data.locations import cache_folder, data_root

_FILE, _SIZE = "mini-imagenet.zip", 84
_SPLITS = ("train", "val", "test")
# Mean and standard deviation of the channels over ImageNet, as torchvision publishes them.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MiniImageNet(Described, AbstractData):
    """miniImageNet from a zip that holds ``images/`` and ``train.csv``, ``val.csv``, ``test.csv``
    (columns filename and label).

    The pictures belong to ImageNet (research only) and cannot be downloaded by us: put
    ``mini-imagenet.zip`` under the data root.

    Raises:
        DataError: when the zip is missing or not of that form.

    Source: Vinyals et al. 2016, arXiv:1606.04080; the split of Ravi and Larochelle 2017 (64 / 16 /
        20 classes) is shipped as a list; tables that differ from it are taken too, and their split
        is then called ``own``.
    """

    name, shape = "mini-imagenet", (3, _SIZE, _SIZE)
    image_format = ImageFormat(size=_SIZE, channels=3, mean=_MEAN, std=_STD).to_json()

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val``, ``trainval`` or ``test``."""
        lists = {**self._lists, "trainval": self._lists["train"] + self._lists["val"]}
        if name not in lists:
            raise DataError(f"miniImageNet has no split '{name}'. {did_you_mean(name, lists)}")
        return self._everything.only(lists[name], split=f"{self._split_name}/{name}")

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    @cached_property
    def _archive(self) -> Path:
        for folder in (data_root(), cache_folder()):
            if (folder / _FILE).is_file():
                return folder / _FILE
        raise DataError(
            f"{_FILE} is not in {data_root()}. Its images may not be redistributed: make a zip "
            "with images/ and train.csv, val.csv, test.csv "
            "(filename,label) and put it there, or name its folder with QUICKSTUDY_DATA or "
            "--data-root."
        )

    @cached_property
    def _tables(self) -> dict[str, list[tuple[str, str]]]:
        tables: dict[str, list[tuple[str, str]]] = {}
        try:
            with opened_archive(self._archive) as archive:
                for split in _SPLITS:
                    text = io.StringIO(member(archive, f"{split}.csv").decode())
                    tables[split] = [(r["filename"], r["label"]) for r in csv.DictReader(text)]
        except DataError as error:
            raise DataError(
                f"{self._archive} must hold train.csv, val.csv and test.csv with the columns "
                f"filename and label: {error}"
            ) from error
        return tables

    @cached_property
    def _lists(self) -> Mapping[str, list[str]]:
        lists = {s: sorted({label for _, label in rows}) for s, rows in self._tables.items()}
        check_disjoint(lists)
        return lists

    @cached_property
    def _split_name(self) -> str:
        """``ravi`` if the tables deal out the classes as the shipped list does, else ``own``."""
        text = (resources.files("quickstudy.data") / "splits" / "mini-imagenet-ravi.csv").read_text(
            encoding="utf-8"
        )
        ravi = {(row["class"], row["split"]) for row in csv.DictReader(io.StringIO(text))}
        return (
            "ravi"
            if ravi == {(label, s) for s, labels in self._lists.items() for label in labels}
            else "own"
        )

    @cached_property
    def _everything(self) -> ClassDataset:
        rows = [row for s in _SPLITS for row in self._tables[s]]
        names = sorted({label for _, label in rows})
        number = {name: c for c, name in enumerate(names)}
        arrays = prepared(
            f"mini-imagenet-{_SIZE}",
            [self._archive],
            lambda: {"x": _read(self._archive, [f for f, _ in rows])},
        )
        labels = np.array([number[label] for _, label in rows])
        return ClassDataset(
            "mini-imagenet", "all", arrays["x"], ClassIndex(labels, names), mean=_MEAN, std=_STD
        )


def _read(path: Path, files: list[str]) -> Tensor:
    """All pictures as uint8 [M 3 84 84], in the order of the tables."""
    x = torch.empty(len(files), 3, _SIZE, _SIZE, dtype=torch.uint8)

    def some(part: range) -> None:
        with opened_archive(path) as archive:
            for i in part:
                content = io.BytesIO(member(archive, f"images/{files[i]}"))
                name = f"{path}: images/{files[i]}"
                with opened_image(content, name) as opened, reading(name):
                    image = opened.convert("RGB")
                if image.size != (_SIZE, _SIZE):
                    image = image.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)
                x[i] = torch.from_numpy(np.array(image)).permute(2, 0, 1)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(some, [range(len(files) // 2), range(len(files) // 2, len(files))]))
    return x
