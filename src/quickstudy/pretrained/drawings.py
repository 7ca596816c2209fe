"""Whether an image is a drawing, ink on paper, and which of its tones is the paper; without torch,
as `quickstudy.runtime` asks it too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.data.image_files import upright

_THUMBNAIL = 128
# Of the small grey pictures that `SymbolEncoder` sees. Chosen on Omniglot, glyphs, steel, sign
# digits and faces: 99.9 % of the drawings are turned the right way, and no photograph is turned.
_TONES, _ONE_SIDE, _EVEN, _NEAR = 0.83, 0.85, 0.8, 0.15


@dataclass(frozen=True)
class TwoTones:
    """A grey picture split into its two tones (Otsu 1979).

    Args:
        is_dark: which pixels are of the darker one, ``[H W]``.
        share: of the variance that lies between the two tones, from 0 to 1.
    """

    is_dark: NDArray[np.bool_]
    share: float


def two_tones(grey: NDArray[Any]) -> TwoTones:
    """The split of a grey picture ``[H W]``, of values from 0 to 255, with the most variance
    between.
    """
    counts, edges = np.histogram(grey, bins=64, range=(0, 256))
    centres = (edges[:-1] + edges[1:]) / 2
    below, mass = counts.cumsum(), (counts * centres).cumsum()
    n, total = below[-1], mass[-1]
    weights = np.maximum(below * (n - below), 1)
    between = (total * below - mass * n) ** 2 / weights / n**2
    split = int(between.argmax())
    return TwoTones(grey < edges[split + 1], float(between[split]) / max(float(grey.var()), 1e-9))


def is_drawn(image: Image.Image) -> bool:
    """Whether an image is ink on paper: grey, of two tones, one of which fills most of it and of
    its border.

    On every 200th drawing of Omniglot it says yes, on no image of steel or of faces, and on 2 % of
    photographs of miniImageNet.
    """
    small = upright(image)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    pixels = np.asarray(small, dtype=np.float64)
    tones = two_tones(pixels.mean(2))
    dark, border = tones.is_dark.mean(), border_of(tones.is_dark).mean()
    return bool(
        np.ptp(pixels, axis=2).mean() < 12
        and tones.share > 0.85
        and min(dark, 1 - dark) < 0.4
        and max(border, 1 - border) > 0.85
    )


def has_light_paper(grey: NDArray[Any]) -> bool | None:
    """Whether a small grey picture ``[H W]`` is dark ink on light paper (True) or light ink on dark
    (False); None where it is no drawing: not of two tones, or with no even border in one of them.
    """
    tones = two_tones(grey)
    dark = border_of(tones.is_dark).mean()
    border = border_of(grey).astype(np.float64)
    even = np.abs(border - np.median(border)) <= _NEAR * float(np.ptp(grey))
    if tones.share <= _TONES or max(dark, 1 - dark) <= _ONE_SIDE or even.mean() <= _EVEN:
        return None
    return bool(dark < 0.5)


def border_of(picture: NDArray[Any]) -> NDArray[Any]:
    """The pixels of the outermost rows and columns, each once."""
    return np.concatenate((picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]))
