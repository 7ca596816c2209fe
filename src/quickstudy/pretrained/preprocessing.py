"""How a picture becomes the input of a vision model of others: read from its
``preprocessor_config.json``, done with Pillow and numpy.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from quickstudy.core.arrays import NDArray
from quickstudy.core.errors import ImageError, LoadError
from quickstudy.data.image_files import MAX_PIXELS, upright

# Processors that do what `Preprocessing` does: resize, crop, rescale and normalise. Others tile,
# pad or segment, and are refused.
_PLAIN = frozenset(
    {
        "BitImageProcessor",
        "CLIPImageProcessor",
        "SiglipImageProcessor",
        "ViTImageProcessor",
        "DeiTImageProcessor",
        "BeitImageProcessor",
    }
)
# What they do where their file does not say.
_BILINEAR = frozenset({"ViTImageProcessor", "DINOv3ViTImageProcessor"})
_CROPPED = frozenset({"BitImageProcessor", "CLIPImageProcessor", "DeiTImageProcessor"})
_FIRST_TO_FLOAT = frozenset({"DINOv3ViTImageProcessor"})
_BY_SHARE = frozenset({"ConvNextImageProcessor"})
_TORCH = {2: "bilinear", 3: "bicubic"}
_LARGE = 384  # from this size on ConvNeXT sees the whole picture


@dataclass(frozen=True)
class Preprocessing:
    """Resize, cut out the middle, scale and normalise.

    Args:
        resize: ``(height, width)``, or ``(shorter side,)`` with the proportions kept; empty = not
            at all.
        crop: height and width of the middle that is kept; empty = all.
        resample: Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic.
        scale: what pixels of 0 … 255 are multiplied by.
        mean, std: of the channels, after scaling.
        floats: resize after scaling, in floating point with antialiasing, as torchvision does and
            DINOv3 expects; else in 8 bits, as Pillow does.

    Example:
        >>> see = Preprocessing(
        ...     resize=(8,), crop=(4, 4), resample=3, scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3
        ... )
        >>> see(Image.new("RGB", (20, 10), "white"))[0, 0]
        array([1., 1., 1., 1.], dtype=float32)
    """

    resize: tuple[int, ...]
    crop: tuple[int, ...]
    resample: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    floats: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what comes out, where that is the same for every picture.

        Raises:
            LoadError: where pictures of other proportions come out at other sizes.
        """
        fixed = self.crop or self.resize
        if len(fixed) != 2:
            raise LoadError(
                "This preprocessing keeps the proportions of an image and cuts nothing off, so "
                "images cannot be encoded together. Use another model."
            )
        return fixed[0], fixed[1]

    @classmethod
    def from_json(
        cls, about: Mapping[str, Any], *, where: str = "preprocessor_config.json"
    ) -> "Preprocessing":
        """What a ``preprocessor_config.json`` asks for.

        Raises:
            LoadError: for a processor that does something else, or numbers that are missing or make
                no sense.
        """
        kind = (
            str(about.get("image_processor_type") or about.get("feature_extractor_type") or "")
            .removesuffix("Fast")
            .removesuffix("Pil")
        )
        kind = kind.replace("FeatureExtractor", "ImageProcessor")
        if kind not in _PLAIN | _FIRST_TO_FLOAT | _BY_SHARE:
            raise LoadError(
                f"{where} asks for {kind or 'no processor by name'}, whose way with images is "
                "not known here. Known: "
                f"{', '.join(sorted(_PLAIN | _FIRST_TO_FLOAT | _BY_SHARE))}. Wrap the model as a "
                "function: quickstudy.pretrained.FunctionEncoder."
            )
        try:
            resize = ()
            crop = ()
            resample = int(about.get("resample", 2 if kind in _BILINEAR else 3))
            if about.get("do_resize", True):
                resize = _size(
                    about["size"],
                    shorter=kind == "CLIPImageProcessor"
                    or kind == "BitImageProcessor"
                    or kind in _BY_SHARE,
                )
            if about.get("do_center_crop", kind in _CROPPED):
                crop = _size(about["crop_size"], shorter=False)
            if kind in _BY_SHARE and resize:
                (side,) = resize
                crop = (side, side) if side < _LARGE else crop
                resize = (
                    (int(side / about.get("crop_pct", 224 / 256)),)
                    if side < _LARGE
                    else (side, side)
                )
            scale = (
                float(about.get("rescale_factor", 1 / 255))
                if about.get("do_rescale", True)
                else 1.0
            )
            normalises = about.get("do_normalize", True)
            mean, std = (
                tuple(float(v) for v in (about[k] if normalises else (d,) * 3))
                for k, d in (("image_mean", 0.0), ("image_std", 1.0))
            )
            result = cls(resize, crop, resample, scale, mean, std, kind in _FIRST_TO_FLOAT)
        except (KeyError, TypeError, ValueError) as error:
            raise LoadError(
                f"{where} does not say how images are prepared: {error!r} is missing or wrong. "
                "Fetch the model again."
            ) from error
        if (
            len(mean) != 3
            or len(std) != 3
            or not all(std)
            or not np.isfinite([*mean, *std, scale]).all()
            or (result.floats and resample not in _TORCH)
            or not 0 <= resample <= 5
        ):
            raise LoadError(
                f"{where} asks for a preprocessing that makes no sense here: {result}. Fetch the "
                "model again."
            )
        return result

    def to_json(self) -> dict[str, Any]:
        """As plain values, for what is hashed and kept."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """What the model sees of a picture, ``[3 H W]``."""
        if self.floats:
            rgb = np.asarray(upright(image), dtype=np.float32).transpose(2, 0, 1)
            x = self._resized_floats(rgb * np.float32(self.scale))
            x = (_middle(x, self.crop) if self.crop else x).astype(np.float32)
        else:
            x = self.pixels(image) * self.scale
        mean, std = (np.asarray(v, dtype=np.float64)[:, None, None] for v in (self.mean, self.std))
        return ((x - mean) / std).astype(np.float32)

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """A picture resized and cut, ``[3 H W]``, before it is scaled and normalised; not of one
        that resizes in floating point.
        """
        rgb = upright(image)
        if self.resize:
            height, width = self._target(rgb.height, rgb.width)
            rgb = rgb.resize((width, height), Image.Resampling(self.resample))
        x = np.asarray(rgb).transpose(2, 0, 1)
        return np.ascontiguousarray(_middle(x, self.crop) if self.crop else x)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if len(self.resize) == 2:
            return self.resize[0], self.resize[1]
        (side,) = self.resize
        size = (
            (int(side * height / width), side)
            if width <= height
            else (side, int(side * width / height))
        )
        if size[0] * size[1] > MAX_PIXELS:
            raise ImageError(
                f"An image of {width}×{height} would become {size[1]}×{size[0]}, too large to be "
                "cut afterwards. Cut out what is to be seen."
            )
        return size

    def _resized_floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.resize:
            return x
        # Here, as `quickstudy.runtime` imports this module where there is no torch.
        import torch
        import torch.nn.functional as F

        to = self._target(x.shape[1], x.shape[2])
        return F.interpolate(
            torch.from_numpy(x)[None],
            to,
            mode=_TORCH[self.resample],
            antialias=True,
            align_corners=False,
        )[0].numpy()


def _size(given: Any, *, shorter: bool) -> tuple[int, ...]:
    if isinstance(given, int):
        return (given,) if shorter else (given, given)
    if "shortest_edge" in given and "longest_edge" not in given:
        return (int(given["shortest_edge"]),)
    return int(given["height"]), int(given["width"])


def _middle(x: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """The middle of ``[3 H W]``; where it is smaller, zeros are put around it."""
    height, width = size
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    if top < 0 or left < 0:
        missing = max(height - x.shape[1], 0), max(width - x.shape[2], 0)
        x = np.pad(x, ((0, 0), *(((m + 1) // 2, m // 2) for m in missing)))
        top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]
