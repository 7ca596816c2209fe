"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings each."""

import csv
import io
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, DataError, did_you_mean
from quickstudy.core.rng import words
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.archives import (
    Published,
    find_or_download,
    member,
    opened_archive,
    prepared,
)
from quickstudy.data.class_index import ClassDataset, ClassIndex, check_disjoint
from quickstudy.data.episodes import Episodes
from quickstudy.data.image_files import opened_image, reading
from quickstudy.data.images import ImageFormat

_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
# Sizes and checksums as TensorFlow Datasets keeps them (url_checksums/omniglot.txt).
_ARCHIVES = {
    "images_background.zip": Published(
        f"{_URL}images_background.zip",
        sha256="ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        size=9_464_212,
    ),
    "images_evaluation.zip": Published(
        f"{_URL}images_evaluation.zip",
        sha256="1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        size=6_462_886,
    ),
}
_CHARACTERS, _DRAWINGS, _SIZE = 1623, 20, 28
_PROTOCOLS = ("vinyals", "maml", "lake")
_MAML_SEED = 1  # our shuffle: the authors shuffled with an unpublished state of Python's generator


class Omniglot(Described, AbstractData):
    """Omniglot at 28×28, ink = 1, with one of its three protocols.

    ``vinyals``: fixed lists, 1028 / 172 / 423 characters. ``maml``: all 1623 shuffled (seed 1),
    1100 / 100 / 423.
    ``lake``: the 964 characters of the 30 background alphabets (every tenth for validation) and the
    659 of the 20 evaluation alphabets.

    Args:
        protocol: vinyals, maml or lake.
        rotations: each character turned by 90, 180 and 270 degrees counts as a new class, in every
            split.
        n_train_classes: train on so many of the training characters only, a fixed random choice, to
            see how a method does with few; 0 = all.

    Raises:
        DownloadError: when the archives are neither at hand nor to be fetched.

    Source: Lake, Salakhutdinov, Tenenbaum 2015, doi:10.1126/science.aab3050 (MIT licence). Splits:
        arXiv:1606.04080 as listed by
    arXiv:1703.05175's authors; arXiv:1703.03400.
    """

    name, shape = "omniglot", (1, _SIZE, _SIZE)
    image_format = ImageFormat(size=_SIZE, channels=1, invert=True).to_json()

    def __init__(
        self, *, protocol: str = "vinyals", rotations: bool = True, n_train_classes: int = 0
    ) -> None:
        if protocol not in _PROTOCOLS:
            raise ConfigError(
                f"Omniglot has no protocol '{protocol}'. {did_you_mean(protocol, _PROTOCOLS)}"
            )
        if n_train_classes < 0:
            raise ConfigError(
                f"n_train_classes cannot be negative, got {n_train_classes}. Use 0 for all."
            )
        self.protocol, self.rotations, self.n_train_classes = protocol, rotations, n_train_classes

    def split(self, name: str) -> ClassDataset:
        """The classes of ``train``, ``val``, ``trainval`` or ``test``."""
        lists = {**self._lists, "trainval": self._lists["train"] + self._lists["val"]}
        if name not in lists:
            raise DataError(f"Omniglot has no split '{name}'. {did_you_mean(name, lists)}")
        chosen, title = lists[name], f"{self.protocol}/{name}"
        if name == "train" and self.n_train_classes:
            if self.n_train_classes > len(chosen):
                raise DataError(
                    f"{title} has {len(chosen)} characters, fewer than "
                    f"n_train_classes={self.n_train_classes}. Lower it."
                )
            ranks = np.argsort([words(1, "omniglot", "few", n)[0] for n in chosen], kind="stable")[
                : self.n_train_classes
            ]
            chosen, title = [chosen[i] for i in sorted(ranks)], f"{title}-{self.n_train_classes}"
        data = self._everything.only(chosen, split=title)
        return data.with_rotations() if self.rotations else data

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    @cached_property
    def _everything(self) -> ClassDataset:
        archives = [find_or_download(file, about) for file, about in _ARCHIVES.items()]
        arrays = prepared(f"omniglot-{_SIZE}", archives, lambda: {"x": _read(archives)})
        names = list(_names())
        labels = np.repeat(np.arange(len(names)), _DRAWINGS)
        return ClassDataset("omniglot", "all", arrays["x"], ClassIndex(labels, names))

    @cached_property
    def _lists(self) -> dict[str, list[str]]:
        table = _names()
        if self.protocol == "vinyals":
            lists = {
                s: [n for n, row in table.items() if row["split"] == s]
                for s in ("train", "val", "test")
            }
        elif self.protocol == "maml":
            shuffled = [
                sorted(table)[i]
                for i in np.argsort(
                    words(len(table), "omniglot", "maml", _MAML_SEED), kind="stable"
                )
            ]
            lists = {"train": shuffled[:1100], "val": shuffled[1100:1200], "test": shuffled[1200:]}
        else:
            background = [n for n, row in table.items() if row["set"] == "background"]
            lists = {
                "train": [n for i, n in enumerate(background) if i % 10],
                "val": background[::10],
            }
            lists["test"] = [n for n, row in table.items() if row["set"] == "evaluation"]
        check_disjoint(lists)
        return lists


def _names() -> dict[str, dict[str, Any]]:
    """``alphabet/character`` to its row of the shipped table, in the order of the stored
    drawings.
    """
    text = (resources.files("quickstudy.data") / "splits" / "omniglot-vinyals.csv").read_text(
        encoding="utf-8"
    )
    return {
        f"{row['alphabet']}/{row['character']}": row for row in csv.DictReader(io.StringIO(text))
    }


def _read(archives: list[Path]) -> Tensor:
    """All drawings as uint8 [M 1 28 28], ink = 255, in the order of the table, each character's
    drawings by file name.
    """
    drawings: dict[str, list[Tensor]] = {}
    for path in archives:
        with opened_archive(path) as archive:
            for entry in sorted(e for e in archive.namelist() if e.endswith(".png")):
                character = "/".join(entry.split("/")[-3:-1])
                image = _drawing(member(archive, entry), f"{path}: {entry}")
                drawings.setdefault(character, []).append(image)
    names = list(_names())
    wrong = [n for n in names if len(drawings.get(n, [])) != _DRAWINGS]
    if wrong:
        raise DataError(
            f"The Omniglot archives should hold {_DRAWINGS} drawings of each of {_CHARACTERS} "
            f"characters, but {len(wrong)} characters differ, "
            f"the first being {wrong[0]} with {len(drawings.get(wrong[0], []))}. Fetch "
            "images_background.zip and images_evaluation.zip again."
        )
    return torch.stack([drawing for n in names for drawing in drawings[n]])


def _drawing(png: bytes, name: str) -> Tensor:
    with opened_image(io.BytesIO(png), name) as image, reading(name):
        small = image.convert("L").resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)
    return 255 - torch.from_numpy(np.array(small))[None]
