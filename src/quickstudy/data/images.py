"""One picture to one tensor, the same way at training and at use."""

import io
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, get_origin, get_type_hints

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.data.image_files import (
    MAX_PIXELS,
    Picture,
    eight_bit,
    opened_image,
    picture_of,
    reading,
)
from quickstudy.data.image_files import read_picture as read_picture
from quickstudy.functional.normalise import normalise

_FITS = ("crop", "stretch", "pad")


@dataclass(frozen=True)
class ImageFormat:
    """How a picture becomes a tensor; kept with every trained run and saved predictor.

    A picture is turned upright (EXIF), laid on white paper where it is transparent, brought to 8
    bits, made square and resampled with a Lanczos filter. Of an animation or a file of several
    pages the first picture is read; colour profiles are ignored.
    16-bit grey is scaled by 1/257; floating-point grey is taken as 0 … 1. Grey values outside of
    that have no agreed meaning, so there the picture's own smallest value becomes black and its
    largest white.

    Args:
        size: height and width of the result.
        channels: 1 for grey, 3 for colour.
        invert: dark ink on light paper becomes light ink on dark, as models trained on Omniglot and
            Glyphs expect.
        fit: how a picture becomes square: "crop" keeps the middle, "stretch" changes the
            proportions, "pad" adds white paper.
        mean, std: of the channels, in units of 0 … 1: learners see (pixel / 255 − mean) / std.

    Raises:
        ConfigError: for a size, a number of channels or a fit that does not exist.

    Example:
        >>> ImageFormat(size=2, channels=1, invert=True).convert(
        ...     Image.new("RGB", (30, 20), "white")
        ... )
        tensor([[[0, 0], [0, 0]]], dtype=torch.uint8)
    """

    size: int
    channels: int
    invert: bool = False
    fit: str = "crop"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        largest = math.isqrt(MAX_PIXELS)
        if not 1 <= self.size <= largest:
            raise ConfigError(f"The size of pictures must lie in 1 … {largest}, got {self.size}.")
        if self.channels not in (1, 3):
            raise ConfigError(
                f"Pictures have channels=1 (grey) or channels=3 (colour), got {self.channels}."
            )
        if self.fit not in _FITS:
            raise ConfigError(
                f"There is no way to make pictures square called '{self.fit}'. "
                f"{did_you_mean(self.fit, _FITS)}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one picture."""
        return (self.channels, self.size, self.size)

    def read(self, picture: Picture) -> UInt8[Tensor, "C S S"]:
        """The picture in a file, in bytes, in an array or in a Pillow image.

        Raises:
            ImageError: when there is no such file, or no picture in it, or a damaged or too large
                one; the message names the file.
        """
        with picture_of(picture) as (image, name):
            if isinstance(picture, Image.Image | np.ndarray):
                return self._pixels(image, name)
            return self._drafted(image, name)

    def decode(self, file: io.BufferedReader | io.BytesIO, *, name: str) -> UInt8[Tensor, "C S S"]:
        """The picture in an open file or an upload, which must be seekable; ``name`` is what error
        messages call it.

        Raises:
            ImageError: as `read` does.
        """
        with opened_image(file, name) as image:
            return self._drafted(image, name)

    def convert(self, image: Image.Image) -> UInt8[Tensor, "C S S"]:
        """The same for a Pillow image.

        Raises:
            ImageError: when it is too large, empty, or cannot be decoded.
        """
        return self.read(image)

    def normalise(self, pixels: UInt8[Tensor, "*B C S S"]) -> Float[Tensor, "*B C S S"]:
        """What a learner sees of pictures that were read."""
        return normalise(pixels, self.mean, self.std)

    def to_json(self) -> dict[str, Any]:
        """A dictionary of plain values, for `from_json`."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ImageFormat":
        """The format that `to_json` wrote.

        Raises:
            LoadError: for an unknown, missing or unusable entry.

        >>> ImageFormat.from_json({"size": 28, "channels": 1})
        ImageFormat(size=28, channels=1, invert=False, fit='crop', mean=(0.0,), std=(1.0,))
        """
        known = {f.name: f for f in fields(cls)}
        kinds = {name: get_origin(hint) or hint for name, hint in get_type_hints(cls).items()}
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        for name, value in values.items():
            if name not in known:
                raise LoadError(
                    f"An image format has no entry '{name}'. {did_you_mean(name, known)}"
                )
            if type(value) is not kinds[name]:
                raise LoadError(
                    f"The entry '{name}' of an image format must be of type "
                    f"{kinds[name].__name__}, got {value!r}."
                )
        missing = [n for n, f in known.items() if f.default is MISSING and n not in values]
        if missing:
            raise LoadError(
                f"An image format needs the entries {', '.join(missing)}, got only "
                f"{', '.join(values) or 'none'}. The file is damaged."
            )
        try:
            return cls(**values)
        except ConfigError as error:
            raise LoadError(f"The image format cannot be used: {error}") from error

    def _drafted(self, image: Image.Image, name: str) -> Tensor:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, ten times as fast for
        # a photograph; twice the wanted size is left for the Lanczos filter.
        drafted = image.draft(None, (2 * self.size, 2 * self.size))
        return self._pixels(image, name, drafted[1][2:] if drafted else None)

    def _pixels(
        self, image: Image.Image, name: str, area: tuple[float, float] | None = None
    ) -> Tensor:
        with reading(name):
            coloured, turn = eight_bit(image, name)
            square = self._square(
                coloured.convert("L" if self.channels == 1 else "RGB"),
                area or (float(image.width), float(image.height)),
            )
            upright = square if turn is None else square.transpose(turn)
        # In numpy, as torch would start all its threads for each little picture.
        pixels = np.array(upright).reshape(self.size, self.size, self.channels)
        pixels = 255 - pixels if self.invert else pixels
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))  # [C S S]

    def _square(self, image: Image.Image, area: tuple[float, float]) -> Image.Image:
        """``area`` is what the picture covers of ``image``: a JPEG decoded at a quarter of its size
        may end within a pixel.
        """
        (w, h), s, lanczos = area, self.size, Image.Resampling.LANCZOS
        if self.fit == "stretch":
            return image.resize((s, s), lanczos, box=(0, 0, w, h))
        if self.fit == "pad":
            scaled = image.resize(
                (max(1, round(s * w / max(w, h))), max(1, round(s * h / max(w, h)))),
                lanczos,
                box=(0, 0, w, h),
            )
            paper = Image.new(image.mode, (s, s), "white")
            paper.paste(scaled, ((s - scaled.width) // 2, (s - scaled.height) // 2))
            return paper
        short = min(w, h)
        left, top = (w - short) / 2, (h - short) / 2
        return image.resize((s, s), lanczos, box=(left, top, left + short, top + short))
