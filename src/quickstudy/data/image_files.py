"""The one reader of pictures: whatever its source, a picture is opened here.

Only formats of the list below are opened, by their content, whatever the name says: none of them
runs another program, as EPS does. Sizes are checked before anything is decoded.
"""

import functools
import importlib
import io
import math
import re
import stat
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError, ImageError
from quickstudy.data.open_files import OpenFile, content_of

MAX_PIXELS = 100_000_000
"""The largest picture that is decoded, as width × height."""
MAX_SIDE = 65_535
"""The longest side of one: the largest that JPEG has."""


@runtime_checkable
class TensorLike(Protocol):
    """A tensor of torch, which is not imported here: `quickstudy.runtime` works without it."""

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        ...

    def detach(self) -> Any:
        """The numbers alone."""


Picture: TypeAlias = (
    str | Path | bytes | bytearray | OpenFile | Image.Image | NDArray[Any] | TensorLike
)
"""A picture: the path of a file, the content of one, an open file (`io.BytesIO`), a Pillow image,
or an array [H W] or [H W C] (a tensor [C H W] too) of bytes or of numbers between 0 and 1."""

# The usual ones are tried first. Pillow knows more: film, fonts, data files that only look like
# pictures, and formats that it hands to another program (EPS to Ghostscript).
_USUAL = ("JPEG", "PNG", "GIF", "BMP", "PPM")
_FORMATS = (
    *_USUAL,
    *("TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000", "MPO", "DIB", "ICO", "PCX", "QOI", "SGI", "TGA"),
)
_HEIC = (".heic", ".heif", ".hif")

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
_ON_ITS_SIDE = tuple(_UPRIGHT[value] for value in (5, 6, 7, 8))
_QUIET = threading.Lock()
_WHITE_12 = 4095
_STRIP = 1 << 22  # values that are scaled at a time


def read_picture(picture: Picture, *, at_least: int = 0) -> Image.Image:
    """A picture as it is: in colour, 8 bits, upright, on white paper where it is transparent.

    Args:
        picture: the path of a file, or the picture itself.
        at_least: where height and width above this are not needed, a JPEG may be decoded at a half,
            a quarter or an eighth of its size; 0 = never.

    Raises:
        ImageError: when there is no such file, or no picture in it, or a damaged or too large one.

    >>> read_picture(np.zeros((2, 3), np.uint8)).size
    (3, 2)
    """
    with picture_of(picture) as (image, name), reading(name):
        if at_least and not isinstance(picture, Image.Image):
            image.draft(None, (at_least, at_least))
        return _turned(*eight_bit(image, name))


def upright(image: Image.Image) -> Image.Image:
    """A Pillow image as `read_picture` gives the picture in a file.

    Raises:
        ImageError: as `read_picture`.
    """
    return read_picture(image)


def picture_size(picture: Picture) -> tuple[int, int]:
    """Width and height of the upright picture, without decoding it.

    Raises:
        ImageError: as `read_picture`.
    """
    with picture_of(picture) as (image, _):
        width, height = image.size
        return (height, width) if _turn(image) in _ON_ITS_SIDE else (width, height)


def picture_endings() -> frozenset[str]:
    """The file endings of pictures that can be read here, in lower case and with their dot.

    >>> ".jpeg" in picture_endings(), ".txt" in picture_endings()
    (True, False)
    """
    readable = set(_formats())
    return frozenset(
        ending for ending, kind in Image.registered_extensions().items() if kind in readable
    )


def how_to_read(ending: str) -> str:
    """What to install so that files of this ending are read; empty if nothing helps.

    >>> how_to_read(".txt")
    ''
    """
    if ending in _HEIC and ending not in picture_endings():
        return "pip install 'quickstudy[heic]'"
    return ""


def is_one_picture(given: Any) -> bool:
    """Whether it is one file or picture, not several of them: an array of four axes is several, and
    so is one of paths.

    >>> is_one_picture("bird.jpg"), is_one_picture(["bird.jpg"])
    (True, False)
    >>> is_one_picture(np.array(["bird.jpg", "owl.jpg"]))
    False
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "OU":
        return False
    if isinstance(given, np.ndarray | TensorLike):
        return given.ndim < 4
    return isinstance(given, str | Path | bytes | bytearray | OpenFile | Image.Image)


def check_list(items: Any, *, of: str) -> None:
    """Refuse one item where several were expected, and what holds none; arrays are taken for
    several.

    Args:
        items: what came.
        of: what they are, as the message calls them.

    Raises:
        ConfigError: for one, and for what is no list.
    """
    if isinstance(items, np.ndarray):
        return
    if not is_one_picture(items):
        if not isinstance(items, Iterable):
            raise ConfigError(f"A list of {of} was expected, got {type(items).__qualname__}.")
        return
    shown = repr(str(items)) if isinstance(items, str | Path) else type(items).__name__
    how = f": [{shown}]" if isinstance(items, str | Path) else ""
    raise ConfigError(
        f"A list of {of} was expected, but one came: {shown}. Put it in brackets{how}."
    )


@contextmanager
def picture_of(picture: Picture) -> Iterator[tuple[Image.Image, str]]:
    """A picture from wherever it is, not decoded yet where it is in a file, and what error messages
    call it.

    Raises:
        ImageError: as `read_picture`.
    """
    if isinstance(picture, str | Path):
        with _opened_file(picture) as (file, name), opened_image(file, name) as image:
            yield image, name
    elif isinstance(picture, bytes | bytearray | OpenFile):
        try:
            content = content_of(picture)
        except DataError as error:
            raise ImageError(str(error)) from error
        name = f"the image given as {len(content)} bytes"
        with opened_image(io.BytesIO(content), name) as image:
            yield image, name
    else:
        image = picture if isinstance(picture, Image.Image) else _from_array(picture)
        name = repr(str(getattr(image, "filename", "") or "the image given"))
        check_size(image, name)
        yield image, name


@contextmanager
def opened_image(file: io.BufferedReader | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """The picture in an open file, not decoded yet.

    Raises:
        ImageError: for what is no picture, or too large a one.
    """
    if not file.read(1):
        raise ImageError(f"{name} is empty (0 bytes). Copy or download it again, or remove it.")
    file.seek(0)
    try:
        with _quiet():
            image = _identified(file)
    except Image.DecompressionBombError as error:
        # Pillow refuses before it says the size, which then stands in its message only.
        counted = re.search(r"\d+", str(error))
        raise _too_large(name, f"{int(counted[0]):,}" if counted else "too many") from None
    except Image.UnidentifiedImageError:
        raise ImageError(
            f"{name} is not an image in a format that can be read here, whatever its name says. "
            "Export it as PNG or JPEG with an image viewer, or remove it."
        ) from None
    except Exception as error:  # Pillow raises whatever error the damaged byte happens to cause
        raise _damaged(name, error) from error
    with image:
        check_size(image, name)
        yield image


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Whatever fails meanwhile is an `ImageError` of the picture of this name.

    Pillow raises whatever error a damaged byte happens to cause; a picture that needs more memory
    than there is must not stop those after it.
    """
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(
            f"{name} needs more memory than there is. Shrink it with an image editor, or remove it."
        ) from error
    except Exception as error:
        raise _damaged(name, error) from error


def check_size(image: Image.Image, name: str) -> None:
    """Refuse a picture that would take too much memory, or that holds nothing.

    Raises:
        ImageError: with its size.
    """
    w, h = image.size
    if w * h > MAX_PIXELS or max(w, h) > MAX_SIDE:
        raise _too_large(name, f"{w:,} × {h:,} = {w * h:,}")
    if w * h == 0:
        raise ImageError(f"{name} is {w} × {h} pixels, so there is nothing to see. Remove it.")


def eight_bit(image: Image.Image, name: str) -> tuple[Image.Image, Image.Transpose | None]:
    """Decoded, of 8 bits, without transparency, in the mode 1, L or RGB; and how to turn it
    upright.
    """
    image.load()
    turn = _turn(image)
    plain = _scaled(image, name) if _is_deep(image) else _opaque(image)
    # By way of RGB, as Pillow knows no straight way from every mode to grey.
    return (plain if plain.mode in ("1", "L", "RGB") else plain.convert("RGB")), turn


def _turned(plain: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    """In colour and upright, without the notes that would ask for another turn."""
    rgb = plain.convert("RGB") if turn is None else plain.convert("RGB").transpose(turn)
    rgb.info = {}
    return rgb


@contextmanager
def _opened_file(path: str | Path) -> Iterator[tuple[io.BufferedReader, str]]:
    """The open file, and what error messages call it."""
    shown = repr(str(path))
    with ExitStack() as stack:
        yield stack.enter_context(_open(path, shown)), shown


def _open(path: str | Path, shown: str) -> io.BufferedReader:
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(
                f"{shown} is a folder where an image file was expected. Give the files in it."
            )
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(mode):
            raise ImageError(f"{shown} is not a regular file. Give an image file.")
        return Path(path).open("rb")
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


def into_range(low: float, high: float) -> str:
    """What to do with numbers of images that run from ``low`` to ``high``, to have them between 0
    and 1; a conversion to bytes would wrap what is below 0 or above 255.

    >>> into_range(0, 255)
    'Divide them by 255.'
    """
    if low < 0:
        return "Undo the normalisation that made them negative."
    if high > 255:
        return "Divide them by the largest number that their kind has, such as 65535 for 16 bits."
    return "Divide them by 255."


def _from_array(picture: Any) -> Image.Image:
    array = picture
    if isinstance(picture, TensorLike):
        array = picture.detach().cpu().numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else array
    if not isinstance(array, np.ndarray):
        raise ImageError(
            "An image is the path of a file, its bytes, an open file, a Pillow image or an array, "
            f"but {type(picture).__name__} came."
        )
    array = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            "An array is an image where its shape is [H W], [H W 1], [H W 3] or [H W 4], but "
            f"{list(array.shape)} came."
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    if array.dtype.kind == "f":
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if not math.isfinite(high - low):
            raise ImageError("The array holds values that are not finite numbers. Replace them.")
        if not 0 <= low <= high <= 1:
            raise ImageError(
                "Numbers of an image lie between 0 and 1, or are bytes, but these run from "
                f"{low:.4g} to {high:.4g}. {into_range(low, high)}"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype == np.uint16 and array.ndim == 2:
        return Image.fromarray(array)
    if array.dtype.kind in "iu" and array.dtype != np.uint8 and array.size:
        low, high = int(array.min()), int(array.max())
        raise ImageError(
            f"An array is an image where it holds bytes (uint8) or floats, but {array.dtype} came, "
            f"from {low} to {high}. {into_range(low, high)}"
        )
    if array.dtype != np.uint8:
        raise ImageError(
            f"An array is an image where it holds bytes (uint8) or floats, but {array.dtype} came."
        )
    return Image.fromarray(np.ascontiguousarray(array))


@functools.cache
def _with_heif() -> bool:
    """Whether HEIC and HEIF can be read, by the extra ``heic``."""
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return False
    return True


def _identified(file: io.BufferedReader | io.BytesIO) -> Image.Image:
    """The picture in a file: the usual formats are tried first, as importing the others takes a
    tenth of a second.
    """
    try:
        return Image.open(file, formats=_USUAL)
    except Image.UnidentifiedImageError:
        file.seek(0)
        return Image.open(file, formats=_formats())


def _formats() -> list[str]:
    Image.init()
    _with_heif()
    return [kind for kind in _FORMATS if kind in Image.OPEN]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings: of a large picture, which has its own limit here, and of broken
    EXIF data, which does no harm.

    The list of warning filters belongs to the whole process, hence the lock.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _too_large(name: str, pixels: str) -> ImageError:
    return ImageError(
        f"{name} has {pixels} pixels, but at most {MAX_PIXELS:,} are read, and {MAX_SIDE:,} to a "
        "side. Shrink it with an image editor, or remove it."
    )


def _damaged(name: str, error: Exception) -> ImageError:
    reason = str(error) or type(error).__name__
    return ImageError(
        f"{name} is damaged or incomplete (Pillow says: {reason}). Copy or download it again, or "
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


def _scaled(image: Image.Image, name: str) -> Image.Image:
    """Grey of more than 8 bits, scaled: Pillow's own conversion cuts off at 255.

    Where no value is above 4095, it is of a camera of 12 bits and white is 4095: as 16 bits even
    its brightest place would be all but black.
    """
    values: NDArray[Any] = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    full = 1.0 if image.mode == "F" else 65535.0
    if not math.isfinite(low) or not math.isfinite(high):
        raise ImageError(
            f"{name} holds values that are not finite numbers (from {low} to {high}). Replace them "
            "and save it again, or remove it."
        )
    if image.mode != "F" and low >= 0 and high <= full:
        # A table, as a large picture in float64 would need eight times its memory.
        white = _WHITE_12 if high <= _WHITE_12 else 65535
        table = ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)
        return Image.fromarray(table[values])
    base, width = (0.0, full) if low >= 0 and high <= full else (low, high - low)
    scaled = np.empty(values.shape, np.uint8)
    step = max(1, _STRIP // max(1, values.shape[1]))
    for at in range(0, len(values), step):  # strip by strip: float64 is eight times as large
        strip = values[at : at + step].astype(np.float64) - base
        scaled[at : at + step] = (strip * (255 / width if width else 0) + 0.5).astype(np.uint8)
    return Image.fromarray(scaled)
