"""What may be wrong with a picture, before somebody is enrolled with it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

# of the shorter side, at which pictures are looked at: at their full size sharpness would depend on
# the camera
SIDE = 64
TINY = 28  # pixels: the smallest picture that an encoder here works with
DARK = 0.25
FLAT = 0.1
BLURRED = 0.05


@dataclass(frozen=True)
class Quality:
    """Measures of a picture in grey, between 0 (black) and 1.

    Args:
        side: of the shorter side, in pixels.
        bright: the grey that one pixel in a hundred exceeds.
        contrast: from the darkest to the brightest, without the outermost five pixels in ten
            thousand on either side.
        sharpness: variance of the Laplacian over the variance of the grey, where the shorter side
            is 64; 0 where there is no contrast.
    """

    side: int
    bright: float
    contrast: float
    sharpness: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looks wrong, in plain sentences; empty where nothing does.

        Tiny is a shorter side below 28 pixels; without contrast below a tenth of the way from black
        to white; too dark where not one pixel in a hundred is brighter than a quarter of white;
        blurred at a sharpness below 0.05, which is judged from 64 pixels on. Chosen on 300 each of
        faces (ORL), photographs (miniImageNet), handwritten characters (Omniglot) and steel (NEU):
        of these no picture has a warning as it is, and nearly every face has one when it is blurred
        by 2 % of its width, or darkened to 30 %.
        """
        warnings = []
        if self.side < TINY:
            warnings.append(
                f"it is tiny, {self.side} pixels on its shorter side (expected {TINY} or more)"
            )
        if self.contrast < FLAT:
            warnings.append(
                f"it has hardly any contrast ({self.contrast:.2f}, expected {FLAT:.2f} or more)"
            )
        elif self.bright < DARK:
            warnings.append(
                f"it is too dark (brightness {self.bright:.2f}, expected {DARK:.2f} or more)"
            )
        elif self.side >= SIDE and self.sharpness < BLURRED:
            warnings.append(
                f"it is blurred (sharpness {self.sharpness:.3f}, expected {BLURRED:.2f} or more)"
            )
        return tuple(warnings)


def picture_quality(picture: Image.Image) -> Quality:
    """Measure a picture.

    >>> picture_quality(Image.new("RGB", (40, 20))).warnings
    ('it is tiny, 20 pixels on its shorter side (expected 28 or more)', 'it has hardly any contrast
    (0.00, expected 0.10 or more)')
    """
    side = min(picture.size)
    small = picture.convert("L")
    if side != SIDE:
        size = tuple(max(SIDE, round(s * SIDE / side)) for s in picture.size)
        small = small.resize(
            (size[0], size[1]), Image.Resampling.BOX if side > SIDE else Image.Resampling.BICUBIC
        )
    grey = np.asarray(small, dtype=np.float64) / 255
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    low, bright, high = np.quantile(grey, [0.0005, 0.99, 0.9995])
    spread = float(middle.var())
    return Quality(
        side,
        float(bright),
        float(high - low),
        float(laplacian.var() / spread) if spread > 1e-9 else 0.0,
    )
