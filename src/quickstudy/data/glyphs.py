"""Glyphs: over a thousand characters of nineteen scripts and sets of signs, drawn on the spot, so
that there is nothing to download.
"""

import csv
import hashlib
import io
import unicodedata
from functools import cache, cached_property
from importlib import resources
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError, DataError, did_you_mean
from quickstudy.core.setting import Setting
from quickstudy.core.tasks import AbstractData, AbstractTasks
from quickstudy.data.archives import cached
from quickstudy.data.class_index import ClassDataset, ClassIndex
from quickstudy.data.episodes import Episodes
from quickstudy.data.glyph_drawing import SIDE, VERSION, draw
from quickstudy.data.images import ImageFormat
from quickstudy.data.locations import cache_folder

SPLITS = ("train", "val", "test")
LIST = resources.files("quickstudy.data") / "splits" / "glyphs-scripts.csv"


class Glyphs(Described, AbstractData):
    """Unicode characters at 28×28, white ink on black, each drawing with another font, slant, pen
    and smooth deformation.

    Training, validation and test share no script, and no character looks like one of another split;
    one for training not even when turned.
    The list of characters is fixed and shipped. Drawings are exactly repeatable with the same
    matplotlib and Pillow; other versions may render a few pixels differently. They are made in
    seconds at the first use and kept in the cache folder.

    Args:
        drawings: of each character; a longer series starts with the shorter one.
        rotations: each training character turned by 90, 180 and 270 degrees counts as a new class;
            validation and test stay as they are.
        seed: of the drawings.

    Raises:
        ConfigError: for less than one drawing.

    Example:
        >>> Glyphs().tasks("test", Setting(n_way=5, n_shot=1, n_query=15)).batch(
        ...     [0]
        ... ).support.x.shape
        torch.Size([1, 5, 1, 28, 28])
    """

    name, shape = "glyphs", (1, SIDE, SIDE)
    image_format = ImageFormat(size=SIDE, channels=1, invert=True).to_json()

    def __init__(self, *, drawings: int = 20, rotations: bool = False, seed: int = 0) -> None:
        if drawings < 1:
            raise ConfigError(
                f"Glyphs needs at least 1 drawing of each character, got drawings={drawings}."
            )
        self.drawings, self.rotations, self.seed = drawings, rotations, seed

    def split(self, name: str) -> ClassDataset:
        """The characters of ``train``, ``val`` or ``test``; their classes are called by their
        Unicode names.

        Raises:
            DataError: for another name, or when the fonts lack a character of the list.
        """
        if name not in SPLITS:
            raise DataError(f"Glyphs has no split '{name}'. {did_you_mean(name, SPLITS)}")
        rows = [i for i, c in enumerate(listed()) if c.split == name]
        names = [unicodedata.name(listed()[i].character) for i in rows]
        # A split's characters stand together in the list, so this is a view.
        x = self._everything[rows[0] : rows[-1] + 1].view(-1, *self.shape)
        data = ClassDataset(
            self.name,
            f"scripts/{name}",
            x,
            ClassIndex(np.repeat(np.arange(len(names)), self.drawings), names),
        )
        return data.with_rotations() if self.rotations and name == "train" else data

    def tasks(self, split: str, setting: Setting, *, seed: int = 0) -> AbstractTasks:
        return Episodes(self.split(split), setting, seed=seed)

    @cached_property
    def _everything(self) -> UInt8[Tensor, "C n H W"]:
        """All drawings, in the order of the list."""
        characters = "".join(c.character for c in listed())
        # The fonts come with matplotlib, and Pillow renders them.
        depends = (
            VERSION,
            characters,
            self.drawings,
            self.seed,
            version("matplotlib"),
            version("pillow"),
        )
        file = (
            cache_folder()
            / f"glyphs-{hashlib.sha256(repr(depends).encode()).hexdigest()[:12]}.safetensors"
        )
        return cached(
            file,
            lambda: {
                "x": torch.from_numpy(
                    np.stack([draw(c, self.drawings, seed=self.seed) for c in characters])
                )
            },
        )["x"]


class Listed(NamedTuple):
    """A line of the list."""

    character: str
    split: str
    script: str


@cache
def listed() -> tuple[Listed, ...]:
    """The list that comes with the package, in its order."""
    text = LIST.read_text(encoding="utf-8")
    return tuple(
        Listed(chr(int(row["character"][2:], 16)), row["split"], row["script"])
        for row in csv.DictReader(io.StringIO(text))
    )
