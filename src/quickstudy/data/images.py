"""One picture file to one tensor, the same way at training and at use."""

import io
import math
import re
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, ImageError, LoadError, did_you_mean
from quickstudy.functional.normalise import normalise

MAX_PIXELS = 100_000_000
"""The largest picture that is decoded, as width × height."""

# Film, data files that only look like pictures, and formats that Pillow hands to another program
# (EPS to Ghostscript).
_NOT_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

# Tried first: some of the rare formats have no signature and would be tried in vain on every file.
_COMMON = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")

# What the EXIF values 2 … 8 ask for; 1 is upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_FITS = ("crop", "stretch", "pad")
_QUIET = threading.Lock()

Result = TypeVar("Result")


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

    def read(self, path: str | Path) -> UInt8[Tensor, "C S S"]:
        """The picture in a file.

        Raises:
            ImageError: when there is no such file, or no picture in it, or a damaged or too large
                one; the message names the file.
        """
        return _from_file(path, lambda file, shown: self.decode(file, name=shown))

    def decode(self, file: io.BufferedReader | io.BytesIO, *, name: str) -> UInt8[Tensor, "C S S"]:
        """The picture in an open file or an upload, which must be seekable; ``name`` is what error
        messages call it.

        Raises:
            ImageError: as `read` does.
        """
        with _opened(file, name) as image:
            # A JPEG can be decoded at a half, a quarter or an eighth of its size, ten times as fast
            # for a photograph;
            # twice the wanted size is left for the Lanczos filter.
            drafted = image.draft(None, (2 * self.size, 2 * self.size))
            return self._pixels(image, name, drafted[1][2:] if drafted else None)

    def convert(self, image: Image.Image) -> UInt8[Tensor, "C S S"]:
        """The same for a picture in memory.

        Raises:
            ImageError: when it is too large, empty, or cannot be decoded.
        """
        name = repr(str(getattr(image, "filename", "") or "the picture given"))
        _check_pixels(image, name)
        return self._pixels(image, name)

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

    def _pixels(
        self, image: Image.Image, name: str, area: tuple[float, float] | None = None
    ) -> Tensor:
        try:
            coloured, turn = _plain(image, name)
            square = self._square(
                coloured.convert("L" if self.channels == 1 else "RGB"),
                area or (float(image.width), float(image.height)),
            )
            upright = square if turn is None else square.transpose(turn)
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # as in decode
            raise _damaged(name, error) from error
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


def read_picture(path: str | Path, *, at_least: int = 0) -> Image.Image:
    """The picture in a file as it is: in colour, 8 bits, upright, on white paper where it is
    transparent.

    Args:
        path: the file.
        at_least: where height and width above this are not needed, a JPEG may be decoded at a half,
            a quarter or an eighth of its size; 0 = never.

    Raises:
        ImageError: as `ImageFormat.read`.
    """

    def read(file: io.BufferedReader, name: str) -> Image.Image:
        with _opened(file, name) as image:
            if at_least:
                image.draft(None, (at_least, at_least))
            try:
                return _turned(*_plain(image, name))
            except (ImageError, MemoryError):
                raise
            except Exception as error:  # as in `_opened`
                raise _damaged(name, error) from error

    return _from_file(path, read)


def upright(image: Image.Image) -> Image.Image:
    """A picture in memory as `read_picture` gives one in a file: in colour, 8 bits, upright, on
    white paper where it is transparent.

    Raises:
        ImageError: as `ImageFormat.convert`.
    """
    name = repr(str(getattr(image, "filename", "") or "the picture given"))
    _check_pixels(image, name)
    try:
        return _turned(*_plain(image, name))
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # as in `_opened`
        raise _damaged(name, error) from error


def picture_endings() -> frozenset[str]:
    """The file endings of pictures that can be read here, in lower case and with their dot.

    >>> ".jpeg" in picture_endings(), ".txt" in picture_endings()
    (True, False)
    """
    readable = set(_formats())
    return frozenset(
        ending for ending, kind in Image.registered_extensions().items() if kind in readable
    )


def _from_file(path: str | Path, then: Callable[[io.BufferedReader, str], Result]) -> Result:
    """What ``then`` makes of the open file and of what error messages call it."""
    shown = repr(str(path))
    try:
        found = Path(path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(
                f"{shown} is a folder where a picture file was expected. Give the files in it."
            )
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{shown} is not a regular file. Give a picture file.")
        with Path(path).open("rb") as file:
            return then(file, shown)
    except ImageError:
        raise
    except FileNotFoundError:
        gone = (
            "is a link to a file that does not exist"
            if Path(path).is_symlink()
            else "does not exist"
        )
        raise ImageError(f"{shown} {gone}. Check the path and its spelling.") from None
    except PermissionError as error:
        raise ImageError(
            f"{shown} may not be read by this user ({error.strerror}). Change the file's "
            "permissions."
        ) from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{shown} cannot be opened: {error}. Check the path.") from error


@contextmanager
def _opened(file: io.BufferedReader | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """The picture in an open file, not decoded yet."""
    if not file.read(1):
        raise ImageError(f"{name} is empty (0 bytes). Copy or download it again, or remove it.")
    try:
        with _quiet():
            image = Image.open(file, formats=_formats())
    except Image.DecompressionBombError as error:
        # Pillow refuses before it says the size, which then stands in its message only.
        counted = re.search(r"\d+", str(error))
        raise _too_large(name, f"{int(counted[0]):,}" if counted else "too many") from None
    except Image.UnidentifiedImageError:
        raise ImageError(
            f"{name} is not a picture in a format that can be read here, whatever its name says. "
            "Export it as PNG or JPEG with a picture viewer, or remove it."
        ) from None
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # Pillow's readers raise whatever error the damaged byte happens to cause.
        raise _damaged(name, error) from error
    with image:
        _check_pixels(image, name)
        yield image


def _plain(image: Image.Image, name: str) -> tuple[Image.Image, Image.Transpose | None]:
    """Decoded, of 8 bits, without transparency, in the mode 1, L or RGB; and how to turn it
    upright.
    """
    image.load()
    turn = _turn(image)
    plain = _eight_bit(image, name) if _is_deep(image) else _opaque(image)
    # By way of RGB, as Pillow knows no straight way from every mode to grey.
    return (plain if plain.mode in ("1", "L", "RGB") else plain.convert("RGB")), turn


def _turned(plain: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """In colour and upright, without the notes that would ask for another turn."""
    rgb = plain.convert("RGB") if turn is None else plain.convert("RGB").transpose(turn)
    rgb.info = {}
    return rgb


def _formats() -> list[str]:
    Image.init()
    rest = set(Image.OPEN) - _NOT_PICTURES - set(_COMMON)
    return [*(kind for kind in _COMMON if kind in Image.OPEN), *sorted(rest)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings: of a large picture, which has its own limit here, and of broken
    EXIF data, which does no harm.

    The list of warning filters belongs to the whole process, hence the lock.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_pixels(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(
            name, f"{image.width:,} × {image.height:,} = {image.width * image.height:,}"
        )
    if image.width * image.height == 0:
        raise ImageError(
            f"{name} is {image.width} × {image.height} pixels, so there is nothing to see. Remove "
            "it."
        )


def _too_large(name: str, pixels: str) -> ImageError:
    return ImageError(
        f"{name} has {pixels} pixels, but at most {MAX_PIXELS:,} are read. Shrink it with a "
        "picture editor, or remove it."
    )


def _damaged(name: str, error: Exception) -> ImageError:
    said = str(error) or type(error).__name__
    return ImageError(
        f"{name} is damaged or incomplete (Pillow says: {said}). Copy or download it again, or "
        "remove it."
    )


def _turn(image: Image.Image) -> Image.Transpose | None:
    with _quiet():
        try:
            return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
        except Exception:  # a picture with broken notes is still a picture
            return None


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    # Pillow reaches RGBA from premultiplied grey by way of LA only.
    above = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    paper = Image.new("RGBA", above.size, "white")
    return Image.alpha_composite(paper, above).convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """Grey of more than 8 bits, scaled: Pillow's own conversion cuts off at 255."""
    values: NDArray[Any] = np.asarray(image)
    low, high, full = (
        float(values.min()),
        float(values.max()),
        1.0 if image.mode == "F" else 65535.0,
    )
    if not math.isfinite(low) or not math.isfinite(high):
        raise ImageError(
            f"{name} holds values that are not finite numbers (from {low} to {high}). Replace them "
            "and save it again, or remove it."
        )
    if image.mode != "F" and low >= 0 and high <= full:
        # A table, as a large picture in float64 would need eight times its memory.
        table = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)
        return Image.fromarray(table[values])
    base, width = (0.0, full) if low >= 0 and high <= full else (low, high - low)
    return Image.fromarray(
        ((values.astype(np.float64) - base) * (255 / width if width else 0) + 0.5).astype(np.uint8)
    )
