"""A picture as a square of bytes; without torch."""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, did_you_mean
from quickstudy.data.image_files import (
    MAX_PIXELS,
    Picture,
    eight_bit,
    opened_image,
    picture_of,
    reading,
)

FITS = ("crop", "stretch", "pad")


@dataclass(frozen=True)
class SquarePixels:
    """What `quickstudy.data.ImageFormat` makes of a picture, as an array ``[C S S]`` of bytes.

    Args:
        size, channels, invert, fit: as there.

    Example:
        >>> SquarePixels(2, 1, invert=True).read(Image.new("RGB", (30, 20), "white")).tolist()
        [[[0, 0], [0, 0]]]
    """

    size: int
    channels: int
    invert: bool = False
    fit: str = "crop"

    def check(self) -> None:
        """Refuse what does not exist.

        Raises:
            ConfigError: for a size, a number of channels or a fit that does not exist.
        """
        largest = math.isqrt(MAX_PIXELS)
        if not 1 <= self.size <= largest:
            raise ConfigError(f"The size of images must lie in 1 … {largest}, got {self.size}.")
        if self.channels not in (1, 3):
            raise ConfigError(
                f"Images have channels=1 (grey) or channels=3 (colour), got {self.channels}."
            )
        if self.fit not in FITS:
            raise ConfigError(
                f"There is no way to make images square called '{self.fit}'. "
                f"{did_you_mean(self.fit, FITS)}"
            )

    def read(self, picture: Picture) -> NDArray[np.uint8]:
        """The picture in a file, in bytes, in an array or in a Pillow image.

        Raises:
            ImageError: when there is no such file, or no picture in it, or a damaged or too large
                one; the message names the file.
        """
        with picture_of(picture) as (image, name):
            if isinstance(picture, Image.Image | np.ndarray):
                return self._pixels(image, name)
            return self._drafted(image, name)

    def decode(self, file: io.BufferedReader | io.BytesIO, *, name: str) -> NDArray[np.uint8]:
        """The picture in an open file, which must be seekable; ``name`` is what error messages call
        it.

        Raises:
            ImageError: as `read` does.
        """
        with opened_image(file, name) as image:
            return self._drafted(image, name)

    def _drafted(self, image: Image.Image, name: str) -> NDArray[np.uint8]:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, ten times as fast for
        # a photograph; twice the wanted size is left for the Lanczos filter.
        drafted = image.draft(None, (2 * self.size, 2 * self.size))
        return self._pixels(image, name, drafted[1][2:] if drafted else None)

    def _pixels(
        self, image: Image.Image, name: str, area: tuple[float, float] | None = None
    ) -> NDArray[np.uint8]:
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
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _square(self, image: Image.Image, area: tuple[float, float]) -> Image.Image:
        """``area`` is what the picture covers of ``image``: a JPEG decoded at a quarter of its size
        may end within a pixel.
        """
        w, h = area
        s = self.size
        lanczos = Image.Resampling.LANCZOS
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
        left = (w - short) / 2
        top = (h - short) / 2
        return image.resize((s, s), lanczos, box=(left, top, left + short, top + short))
