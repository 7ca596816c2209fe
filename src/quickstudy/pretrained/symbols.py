"""The encoder of drawings and characters that comes with quickstudy."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.pretrained.drawings import has_light_paper
from quickstudy.pretrained.encoder import AbstractImagePretrained, hash_of
from quickstudy.pretrained.graph import EncoderGraph
from quickstudy.pretrained.run import RunEncoder
from quickstudy.training import pick_device

SYMBOLS = Path(str(resources.files("quickstudy.pretrained") / "weights" / "symbols"))

_POLARITY = {
    None: "It tells dark ink on light paper from light ink on dark by the border of each drawing; "
    "the option invert overrules that.",
    True: "It takes images for dark ink on light paper; the option invert changes that.",
    False: "It takes images for light ink on dark; the option invert changes that.",
}


class SymbolEncoder(AbstractImagePretrained):
    """Drawings, characters and symbols to vectors ``[n 64]``: works at once, without a training and
    without a download.

    A Conv4 that was meta-trained by the recipe symbols-protonet on handwritten characters
    (Omniglot) and printed ones (Glyphs). Its scores on characters it never saw are in the folder
    ``weights/symbols`` beside this file, and so is its licence.

    Args:
        invert: turn dark ink on light paper to light on dark, as it was trained; None = as the
            border of each drawing says. Where an image has two tones and an even border in one of
            them, that one is the paper; every other image, such as a photograph, is turned as
            dark ink on light paper is.
        device: "auto", "cpu" or "cuda".

    Example:
        >>> SymbolEncoder().dim
        64
    """

    def __init__(self, *, invert: bool | None = None, device: str = "cpu") -> None:
        self._run = RunEncoder(SYMBOLS, invert=invert, device=pick_device(device))
        self._run.source = self.source = "symbols"
        self.key = self._run.key
        self.dim = self._run.dim
        self.format = self._run.format
        self.device = self._run.device
        self._is_by_border = invert is None
        if self._is_by_border:
            self.key = hash_of(self._run.key, "polarity of drawings by their border")
        self.notes = (
            "symbols was trained on handwritten and printed characters: use it for drawings, "
            "characters, symbols and simple marks.",
            "It sees a grey image of 28×28 pixels: on photographs it is little better than "
            "guessing, on faces little better than the bare pixels. "
            "Take an encoder of photographs or of faces there.",
            _POLARITY[invert],
        )

    def read(self, path: Path | bytes) -> torch.Tensor:
        return self._turned(self._run.read(path))

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        return self._run.encode(self._prepared(items))

    def patches(self, items: Sequence[Any]) -> NDArray[np.float32]:
        return self._run.patches(self._prepared(items))

    def graph(self) -> EncoderGraph:
        return self._run.graph(polarity="border" if self._is_by_border else "")

    def _prepared(self, items: Sequence[Any]) -> list[Any]:
        return [
            self._turned(self.format.convert(item)) if isinstance(item, Image.Image) else item
            for item in items
        ]

    def _turned(self, pixels: UInt8[torch.Tensor, "1 S S"]) -> UInt8[torch.Tensor, "1 S S"]:
        """Drawings become light ink on dark; photographs stay as the network was trained."""
        if self._is_by_border and has_light_paper(pixels[0].numpy()):
            return 255 - pixels
        return pixels
