"""The encoder of drawings and characters that comes with quickstudy."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quickstudy.core.arrays import NDArray
from quickstudy.pretrained.encoder import AbstractImagePretrained
from quickstudy.pretrained.run import RunEncoder
from quickstudy.training import pick_device

SYMBOLS = Path(str(resources.files("quickstudy.pretrained") / "weights" / "symbols"))


class SymbolEncoder(AbstractImagePretrained):
    """Drawings, characters and symbols to vectors ``[n 64]``: works at once, without a training and
    without a download.

    A Conv4 that was meta-trained by the recipe symbols-protonet on handwritten characters
    (Omniglot) and printed ones (Glyphs). Its scores on characters it never saw are in the folder
    ``weights/symbols`` beside this file, and so is its licence.

    Args:
        invert: turn dark ink on light paper to light on dark, as it was trained; None = True.
        device: "auto", "cpu" or "cuda".

    Example:
        >>> SymbolEncoder().dim
        64
    """

    def __init__(self, *, invert: bool | None = None, device: str = "cpu") -> None:
        self._run = RunEncoder(SYMBOLS, invert=invert, device=pick_device(device))
        self._run.source = self.source = "symbols"
        self.key, self.dim, self.format, self.device = (
            self._run.key,
            self._run.dim,
            self._run.format,
            self._run.device,
        )
        self.notes = (
            "symbols was trained on handwritten and printed characters: use it for drawings, "
            "characters, symbols and simple marks.",
            "It sees a grey picture of 28×28 pixels: on photographs it is little better than "
            "guessing, on faces little better than the bare pixels. "
            "Take an encoder of photographs or of faces there.",
            "It takes pictures for "
            f"{'dark ink on light paper' if self.format.invert else 'light ink on dark'}; the "
            "option invert changes that.",
        )

    def read(self, path: Path) -> torch.Tensor:
        return self._run.read(path)

    def encode(self, items: Sequence[Any]) -> NDArray[np.float32]:
        return self._run.encode(items)

    def patches(self, items: Sequence[Any]) -> NDArray[np.float32]:
        return self._run.patches(items)
