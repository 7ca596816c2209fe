"""Defects on parts whose images lie on each other: every pixel has a value that good parts have
there.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.ndimage import (
    gaussian_filter,
    gaussian_gradient_magnitude,
    maximum_filter,
    minimum_filter,
    shift,
)
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ConfigError, DataError
from quickstudy.core.scalars import finite, whole
from quickstudy.data import read_picture
from quickstudy.data.image_files import check_list
from quickstudy.data.open_files import OpenFile, content_of
from quickstudy.metrics.thresholds import conformal_threshold

Array = NDArray[np.float32]

REGISTERED = 0.7
"""Correlation of edges from which images count as registered."""
FEWEST = 3
"""Good parts, below which nothing can be said of that."""
_GROUPS = 10
_SHAPE = 0.02  # of the ratio of sides: as much may images of one camera differ
_FLOOR = 0.02  # of the way from black to white: noise that every camera has
_GAIN = (0.5, 2.0)


class GoldenTemplate(OutlierMixin, BaseEstimator):
    """Says how much an image differs from the median of good parts, pixel by pixel.

    It is for registered images: one camera, one pose, such as circuit boards in a jig. Each image
    is brought to the size of the template, moved by a few pixels onto it, and its brightness and
    contrast are matched. A pixel deviates as far as it lies outside the values that the template
    has around it, in units of how much good parts vary there. An image is as anomalous as its most
    deviating place.

    Args:
        side: of the longer side of the template, in pixels; larger images are made smaller.
        reach: the share of the longer side by which an image may be moved onto the template.
        tolerance: pixels by which an edge may lie elsewhere.
        false_reject_rate: the wanted share of good parts that `predict` calls defects.

    Attributes:
        template_: the median of good parts, ``[H W 3]``, from 0 (black) to 1.
        reference_: onto what images are moved and in whose brightness they are brought; the median
            of good parts on the first of them.
        spread_: how much good parts vary at each pixel, ``[H W]``.
        registration_: how well the edges of good parts lie on each other: the median correlation of
            each with the template of the others; NaN below three good parts.
        good_scores_: of each good part, by the template of the others.
        threshold_: above which an image is a defect; None where there were too few good parts for
            the rate.
    """

    template_: Array
    reference_: Array
    spread_: Array
    registration_: float
    good_scores_: NDArray[np.float64]
    threshold_: float | None

    def __init__(
        self,
        *,
        side: int = 256,
        reach: float = 0.03,
        tolerance: int = 1,
        false_reject_rate: float = 0.05,
    ) -> None:
        self.side = side
        self.reach = reach
        self.tolerance = tolerance
        self.false_reject_rate = false_reject_rate

    def fit(self, X: Iterable[Any], y: Any = None) -> Self:
        """Take the median of good parts.

        Args:
            X: their images: paths, contents of files, open files, Pillow images or arrays.
            y: not used.

        Raises:
            ConfigError: for options that make no sense, or no image.
            DataError: for images of unlike shape.
            ImageError: for a file that is no image.
        """
        self.check_options()
        images = [read_picture(item) for item in pictures_of(X)]
        if not images:
            raise ConfigError("There is no image. Give at least one.")
        width, height = images[0].size
        scale = min(1.0, self.side / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = [self._pixels(image, size) for image in images]
        first = np.stack([self._onto(x, pixels[0]) for x in pixels])
        self.reference_ = np.median(first, axis=0)
        stack = np.stack([self._onto(x, self.reference_) for x in pixels])
        self.template_ = np.median(stack, axis=0)
        self.spread_ = self._spread(stack, self.template_)
        self._leave_out(stack)
        try:
            self.threshold_ = conformal_threshold(self.good_scores_, self.false_reject_rate)
        except ConfigError:
            self.threshold_ = None
        return self

    @property
    def is_registered(self) -> bool:
        """Whether the edges of good parts lie on each other, so that a template means anything."""
        check_is_fitted(self, "template_")
        return bool(self.registration_ >= REGISTERED)

    def anomaly(self, X: Iterable[Any]) -> Float[NDArray[np.float64], " n"]:
        """How much each image differs from the template, higher = more.

        Raises:
            DataError: for an image of another shape than the good parts.
        """
        return np.asarray([float(self._deviation(item).max()) for item in pictures_of(X)])

    def score_samples(self, X: Iterable[Any]) -> Float[NDArray[np.float64], " n"]:
        """Minus `anomaly`: higher = more like good parts, as scikit-learn has it."""
        return -self.anomaly(X)

    def predict(self, X: Iterable[Any]) -> NDArray[np.int64]:
        """1 for a good part, −1 for a defect.

        Raises:
            ConfigError: when there were too few good parts to draw a line.
        """
        check_is_fitted(self, "template_")
        if self.threshold_ is None:
            conformal_threshold(self.good_scores_, self.false_reject_rate)  # says how many it takes
            raise ConfigError("There is no threshold.")
        return np.where(self.anomaly(X) > self.threshold_, -1, 1)

    def maps(self, X: Iterable[Any]) -> list[Float[NDArray[np.float32], "H W"]]:
        """How much each pixel deviates, as large as the image."""
        out = []
        for item in pictures_of(X):
            image = read_picture(item)
            heat = Image.fromarray(self._deviation(image))
            out.append(np.asarray(heat.resize(image.size, Image.Resampling.BILINEAR)))
        return out

    def to_json(self) -> dict[str, Any]:
        """The options and numbers, as JSON values; the arrays are in `to_arrays`."""
        check_is_fitted(self, "template_")
        return {
            "options": self.get_params(deep=False),
            "registration": self.registration_ if np.isfinite(self.registration_) else None,
            "threshold": self.threshold_,
        }

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The template, how much good parts vary, and their scores."""
        check_is_fitted(self, "template_")
        return {
            "template": np.ascontiguousarray(self.template_),
            "reference": np.ascontiguousarray(self.reference_),
            "spread": self.spread_,
            "good_scores": self.good_scores_,
        }

    @classmethod
    def from_saved(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        """Back from `to_json` and `to_arrays`.

        Raises:
            ConfigError, ValueError, LookupError, TypeError: where something is damaged.
        """
        out = cls(**about["options"])
        out.check_options()
        out.template_, out.spread_ = arrays["template"], arrays["spread"]
        out.reference_ = arrays["reference"]
        out.good_scores_ = arrays["good_scores"]
        shape = out.template_.shape
        if len(shape) != 3 or shape[2] != 3 or out.reference_.shape != shape:
            raise ValueError(f"a template of {shape} with a reference of {out.reference_.shape}")
        if out.spread_.shape != shape[:2]:
            raise ValueError(f"a template of {shape} with a spread of {out.spread_.shape}")
        is_finite = np.isfinite(out.template_).all() and np.isfinite(out.reference_).all()
        if not is_finite or not (out.spread_ > 0).all():
            raise ValueError("the template holds values that make no sense")
        scores = out.good_scores_
        if scores.ndim != 1 or not np.isfinite(scores).all():
            raise ValueError(f"scores of good parts of shape {scores.shape} make no sense")
        registration = about["registration"]
        out.registration_ = float("nan") if registration is None else float(registration)
        threshold = about["threshold"]
        out.threshold_ = None if threshold is None else float(threshold)
        return out

    def check_options(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ConfigError: for these.
        """
        for name in ("side", "tolerance"):
            whole(getattr(self, name), name)
        for name in ("reach", "false_reject_rate"):
            finite(getattr(self, name), name)
        if (
            self.side < 16
            or self.tolerance < 0
            or not 0 <= self.reach < 0.5
            or not 0 < self.false_reject_rate < 1
        ):
            raise ConfigError(
                "side is at least 16, tolerance not negative, reach lies in [0, 0.5) and "
                f"false_reject_rate between 0 and 1, got {self.side}, {self.tolerance}, "
                f"{self.reach} and {self.false_reject_rate}."
            )

    def _pixels(self, image: Image.Image, size: tuple[int, int]) -> Array:
        """An image in the size of the template."""
        ratio, expected = image.width / image.height, size[0] / size[1]
        # A small template's own ratio is that of whole pixels.
        if abs(ratio / expected - 1) > _SHAPE + 1 / min(size):
            raise DataError(
                f"An image has {image.width} × {image.height} pixels, but the template has "
                f"{size[0]} × {size[1]}. Registered images have one shape: take all with the same "
                "camera, and do not cut them."
            )
        small = image if image.size == size else image.resize(size, Image.Resampling.BOX)
        return (np.asarray(small) / 255).astype(np.float32)

    def _onto(self, x: Array, template: Array) -> Array:
        """An image moved onto the template, in its brightness and contrast."""
        down, right = _offset(x.mean(-1), template.mean(-1), self.reach)
        if down or right:
            moved = shift(x, (down, right, 0), order=1, mode="nearest")
            x = np.asarray(moved, dtype=np.float32)
        low, middle, high = np.quantile(x, (0.1, 0.5, 0.9))
        wanted_low, wanted, wanted_high = np.quantile(template, (0.1, 0.5, 0.9))
        gain = float(np.clip((wanted_high - wanted_low) / max(high - low, 1e-6), *_GAIN))
        out = ((x - middle) * gain + wanted).astype(np.float32)
        # What came in from outside of the image says nothing.
        rows, columns = _came_in(down, len(out)), _came_in(right, out.shape[1])
        out[rows], out[:, columns] = template[rows], template[:, columns]
        return out

    def _outside(self, x: Array, template: Array) -> Array:
        """How far each pixel lies outside what the template has around it ``[H W]``."""
        around = 2 * self.tolerance + 1, 2 * self.tolerance + 1, 1
        above = x - maximum_filter(template, around)
        below = minimum_filter(template, around) - x
        return np.maximum(np.maximum(above, below), 0).max(-1)

    def _spread(self, stack: Array, template: Array) -> Array:
        squares = np.mean([self._outside(x, template) ** 2 for x in stack], axis=0)
        return np.sqrt(gaussian_filter(squares, 1) + _FLOOR**2).astype(np.float32)

    def _scored(self, x: Array, template: Array, spread: Array) -> Array:
        return gaussian_filter(self._outside(x, template) / spread, 1).astype(np.float32)

    def _deviation(self, item: Any) -> Array:
        check_is_fitted(self, "template_")
        height, width = self.template_.shape[:2]
        moved = self._onto(self._pixels(read_picture(item), (width, height)), self.reference_)
        return self._scored(moved, self.template_, self.spread_)

    def _leave_out(self, stack: Array) -> None:
        """Scores and registration of good parts by templates without them: one by one for few, in
        ten groups for many.
        """
        n = len(stack)
        self.good_scores_, self.registration_ = np.empty(0), float("nan")
        if n < FEWEST:
            return
        group = np.arange(n) % min(n, _GROUPS)
        scores, alike = np.empty(n), np.empty(n)
        for g in range(group.max() + 1):
            others = stack[group != g]
            template = np.median(others, axis=0)
            spread = self._spread(others, template)
            edges = _edges(template)
            for i in np.flatnonzero(group == g):
                scores[i] = self._scored(stack[i], template, spread).max()
                alike[i] = _correlation(_edges(stack[i]), edges)
        self.good_scores_, self.registration_ = scores, float(np.median(alike))


def pictures_of(X: Iterable[Any]) -> list[Any]:
    """A list of pictures, open files among them by their content, as each is needed more than once.

    Raises:
        ConfigError: for one picture where several were expected.
        DataError: for an open file that cannot be read.
    """
    check_list(X, of="images")
    return [content_of(x) if isinstance(x, OpenFile) else x for x in X]


def _came_in(step: int, size: int) -> slice:
    """The rows or columns that a move by so many pixels fills from outside."""
    return slice(0, step) if step >= 0 else slice(size + step, size)


def _edges(x: Array) -> Array:
    return np.asarray(gaussian_gradient_magnitude(x.mean(-1), 1), dtype=np.float32)


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 1e-12 else 0.0


def _offset(x: Array, template: Array, reach: float) -> Sequence[int]:
    """By how many pixels (down, right) an image has to be moved onto the template: where the
    correlation of their edges peaks, within the reach.
    """
    most = int(reach * max(x.shape))
    if not most:
        return 0, 0
    a, b = (gaussian_gradient_magnitude(one, 1) for one in (template, x))
    a, b = a - a.mean(), b - b.mean()
    correlation = np.fft.irfft2(np.fft.rfft2(a) * np.conj(np.fft.rfft2(b)), s=x.shape)
    steps = np.arange(-most, most + 1)
    near = correlation[np.ix_(steps, steps)]  # negative indices count from the end
    row, column = np.unravel_index(int(near.argmax()), near.shape)
    return int(steps[row]), int(steps[column])
