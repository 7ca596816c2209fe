"""One picture to one tensor, the same way at training and at use."""

import io
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, get_origin, get_type_hints

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from quickstudy.core.errors import ConfigError, LoadError, did_you_mean
from quickstudy.data.image_files import Picture
from quickstudy.data.image_files import read_picture as read_picture
from quickstudy.data.square_pixels import SquarePixels
from quickstudy.functional.normalise import normalise


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
        self._square.check()

    @property
    def _square(self) -> SquarePixels:
        return SquarePixels(self.size, self.channels, self.invert, self.fit)

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
        return torch.from_numpy(self._square.read(picture))

    def decode(self, file: io.BufferedReader | io.BytesIO, *, name: str) -> UInt8[Tensor, "C S S"]:
        """The picture in an open file or an upload, which must be seekable; ``name`` is what error
        messages call it.

        Raises:
            ImageError: as `read` does.
        """
        return torch.from_numpy(self._square.decode(file, name=name))

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
