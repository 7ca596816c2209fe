"""Characters drawn from the fonts that matplotlib carries, varied as handwriting varies."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import DataError
from quickstudy.core.rng import uniform

if TYPE_CHECKING:
    from PIL import ImageFont

SIDE = 28
"""Height and width of a drawing."""

VERSION = 1
"""Of the way of drawing; to be raised with every change of it, as drawings are cached."""

# Obliques are left out because shear draws them; italics because they change letters (an italic
# Cyrillic т looks like m); TeX's cm fonts
# because their character tables are not Unicode's; display and size fonts because they hold
# variants of a few characters.
UPRIGHT = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")
FONTS = (*UPRIGHT, "DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "STIXGeneralBol")

_FINE = 3  # canvas pixels per pixel of the drawing, as outlines stand between pixels
_LONGEST = 20  # pixels of the longer side of an undeformed character
_KNOTS = 6  # the elastic field is pulled by 6 × 6 random vectors
_SCALARS = 8  # random numbers per drawing besides those vectors

# Half widths of the ranges that a drawing is varied in; pixels are those of the drawing.
_TURN, _SHEAR, _SHIFT, _STRETCH, _PULL = 0.22, 0.3, 1.5, np.log(1.2), 4.5
_PEN = (0.8, 1.6)  # half the width of a stroke, in pixels
# Thinning breaks hairlines and thickening fills counters, so a bold face stays a little bolder than
# a light one.
_THINNER, _THICKER = -0.4, 0.6

_AXIS = np.arange(SIDE) - (SIDE - 1) / 2
_WEIGHTS = np.exp(-(((_AXIS[:, None] - np.linspace(-14, 14, _KNOTS)) / 5) ** 2) / 2)
_WEIGHTS /= _WEIGHTS.sum(1, keepdims=True)


def fonts_of(character: str) -> tuple[str, ...]:
    """The fonts that have this character, in the order of ``FONTS``.

    >>> fonts_of("ⴰ")
    ('DejaVuSans', 'DejaVuSans-Bold')
    """
    return tuple(name for name in FONTS if ord(character) in _font(name)[1])


def characters() -> list[str]:
    """All that the fonts have, by code point."""
    return [chr(code) for code in sorted(set().union(*(_font(name)[1] for name in FONTS)))]


def draw(character: str, drawings: int, *, seed: int = 0) -> UInt8[np.ndarray, "n H W"]:
    """The first drawings of a character, white ink on black; drawing k depends on (character, k,
    seed) alone.

    A random font, turned, sheared, stretched, shifted and pulled about by a smooth random field,
    with a pen of random width:
    ink(p) = clip(½ + d(A(p − t) + f(p)) + w, 0, 1) where d is the signed distance to the outline
    and w the pen's excess width.

    Raises:
        DataError: when no font has the character.
    """
    fonts = fonts_of(character)
    if not fonts:
        raise DataError(
            f"No font has the character {character} (U+{ord(character):04X}); looked in "
            f"{', '.join(FONTS)} as matplotlib carries them. "
            "Install another version of matplotlib (3.9 or later)."
        )
    outlines = {name: _outline(character, name) for name in fonts}
    drawn = np.empty((drawings, SIDE, SIDE), dtype=np.uint8)
    for k in range(drawings):
        u = uniform(_SCALARS + 2 * _KNOTS**2, "glyphs", character, k, seed)
        distance = _drawn(
            outlines[fonts[int(u[0] * len(fonts))]],
            _source(2 * u[2:] - 1),
            _PEN[0] + (_PEN[1] - _PEN[0]) * u[1],
        )
        drawn[k] = np.rint(255 * np.clip(0.5 + distance, 0, 1))
    return drawn


def plain(
    character: str,
    font: str,
    *,
    pen: float,
    stretches: Sequence[tuple[float, float]] = ((1.0, 1.0),),
) -> Float[np.ndarray, "n H W"]:
    """The signed distance to the outline of a character that is only stretched in height and width,
    positive in the ink, in pixels.
    """
    outline, at = _outline(character, font), np.empty((2, SIDE, SIDE))
    plains = np.empty((len(stretches), SIDE, SIDE))
    for i, (height, width) in enumerate(stretches):
        at[0], at[1] = _AXIS[:, None] / height, _AXIS / width
        plains[i] = _drawn(outline, at, pen)
    return plains


def _outline(character: str, font: str) -> tuple[NDArray[np.float64], float]:
    """The signed distance to the outline on the canvas, and half the width of a typical stroke,
    both in pixels of the drawing.
    """
    from scipy.ndimage import distance_transform_edt

    ink = _ink(character, font)
    if not ink.any():
        return np.full(ink.shape, -float(SIDE)), 0.0
    inside = np.asarray(distance_transform_edt(ink))
    outside = np.asarray(distance_transform_edt(~ink))
    distance = np.where(ink, inside - 0.5, 0.5 - outside) / _FINE
    # Across a straight stroke of half width h the distances are spread evenly over 0 … h.
    return distance, 2 * float(distance[ink].mean())


def _drawn(
    outline: tuple[NDArray[np.float64], float], at: NDArray[np.float64], pen: float
) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    distance, half_width = outline
    value = map_coordinates(distance, at * _FINE + (SIDE * _FINE - 1) / 2, order=1, mode="nearest")
    return value + np.clip(pen - half_width, _THINNER, _THICKER)


def _source(s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where in the undeformed character each pixel of the drawing lies, from numbers in −1 … 1: [2
    28 28], the middle at 0.
    """
    turn, shear = _TURN * s[0], _SHEAR * s[1]
    linear = np.diag(np.exp(_STRETCH * s[4:6])) @ np.array([[1, 0], [shear, 1]])
    linear = linear @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    knots = _PULL * s[6:].reshape(2, _KNOTS, _KNOTS)
    y, x = _AXIS[:, None] - _SHIFT * s[2], _AXIS - _SHIFT * s[3]
    # Not as matrix products: how those round depends on the machine.
    field = np.einsum("ia,cab,jb->cij", _WEIGHTS, knots, _WEIGHTS)
    return (
        np.stack([linear[0, 0] * y + linear[0, 1] * x, linear[1, 0] * y + linear[1, 1] * x]) + field
    )


def _ink(character: str, font: str) -> NDArray[np.bool_]:
    """The character in the middle, as large as ``_LONGEST`` allows whatever its size in the font: a
    handwritten o is as large as an O.
    """
    from PIL import Image, ImageDraw

    side = SIDE * _FINE
    canvas = Image.new("L", (side, side))
    face = _font(font)[0]
    left, top, right, bottom = (round(edge) for edge in face.getbbox(character))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=face)
    box = image.getbbox()
    if box is not None:
        image = image.crop(box)
        w, h = (max(1, round(n * _LONGEST * _FINE / max(image.size))) for n in image.size)
        canvas.paste(
            image.resize((w, h), Image.Resampling.BILINEAR), ((side - w) // 2, (side - h) // 2)
        )
    return np.asarray(canvas) > 127


@cache
def _font(name: str) -> "tuple[ImageFont.FreeTypeFont, frozenset[int]]":
    """A font and the code points that it has."""
    import matplotlib
    from matplotlib.ft2font import FT2Font
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    if not path.is_file():
        raise DataError(
            f"matplotlib {matplotlib.__version__} should carry the font {path}, but does not. "
            "Install matplotlib 3.9 or later."
        )
    # Pillow's other layout engine is not everywhere, and shapes Arabic where it is.
    font = ImageFont.truetype(str(path), 120, layout_engine=ImageFont.Layout.BASIC)
    return font, frozenset(FT2Font(str(path)).get_charmap())
