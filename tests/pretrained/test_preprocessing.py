"""Pictures for models of others, beside transformers' own Pillow processors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from quickstudy.core.errors import ImageError, LoadError
from quickstudy.data import read_picture
from quickstudy.pretrained.preprocessing import Preprocessing

IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": (
        "BitImageProcessor",
        {
            "size": {"shortest_edge": 64},
            "crop_size": {"height": 56, "width": 56},
            "resample": 3,
            **IMAGENET,
        },
    ),
    "clip": (
        "CLIPImageProcessor",
        {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}},
    ),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 56, "width": 56}, "resample": 3}),
    "vit": ("ViTImageProcessor", {"size": {"height": 48, "width": 56}, "resample": 2}),
    "convnext": (
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 56}, "crop_pct": 0.875, **IMAGENET},
    ),
    "convnext, large": (
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 384}, "crop_pct": 1.0},
    ),
}
SIZES = [(100, 80), (33, 201), (300, 31), (7, 5), (64, 64), (57, 56)]


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.integers(-40, 40, (height, width, 3))
    return Image.fromarray(
        np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8)
    ).convert(mode)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_parity_with_transformers_pillow_processors(family: str, mode: str) -> None:
    name, options = FAMILIES[family]
    theirs = getattr(transformers, f"{name}Pil")(**options)
    ours = Preprocessing.from_json(theirs.to_dict())
    for i, (width, height) in enumerate(SIZES):
        image = picture(width, height, mode, seed=i)
        expected = theirs(image.convert("RGB"), return_tensors="np")["pixel_values"][0]
        np.testing.assert_allclose(ours(image), expected, atol=1e-4)
        assert ours(image).shape == (3, *ours.size)


@settings(max_examples=25)
@given(st.integers(1, 90), st.integers(1, 90))
def test_parity_at_any_size(width: int, height: int) -> None:
    theirs = transformers.BitImageProcessorPil(**FAMILIES["dinov2"][1])
    image = picture(width, height)
    if max(width, height) / min(width, height) > 20:
        return
    np.testing.assert_allclose(
        Preprocessing.from_json(theirs.to_dict())(image),
        theirs(image, return_tensors="np")["pixel_values"][0],
        atol=1e-4,
    )


def test_dinov3_scales_first_and_resizes_with_antialiasing() -> None:
    """Its own processor needs torchvision, whose resize of tensors is torch's interpolate: the
    reference is that, step by step.
    """
    about = {
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "do_resize": True,
        **IMAGENET,
    }
    ours, image = Preprocessing.from_json(about), picture(100, 70)
    x = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None].float() / 255
    x = torch.nn.functional.interpolate(x, (32, 32), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(IMAGENET[k])[:, None, None] for k in ("image_mean", "image_std"))
    np.testing.assert_allclose(ours(image), ((x - mean) / std)[0].numpy(), atol=1e-5)
    eight_bit = Preprocessing.from_json({**about, "image_processor_type": "ViTImageProcessor"})
    assert 1e-3 < np.abs(eight_bit(image) - ours(image)).max() < 0.1  # Pillow rounds to 8 bits


def test_what_is_not_known_is_refused() -> None:
    good = transformers.CLIPImageProcessorPil().to_dict()
    with pytest.raises(
        LoadError, match=r"x\.json asks for SamImageProcessor, whose way with images is not known"
    ):
        Preprocessing.from_json(
            {**good, "image_processor_type": "SamImageProcessor"}, where="x.json"
        )
    with pytest.raises(LoadError, match="no processor by name"):
        Preprocessing.from_json({})
    with pytest.raises(LoadError, match="image_mean"):
        Preprocessing.from_json({k: v for k, v in good.items() if k != "image_mean"})
    with pytest.raises(LoadError, match="makes no sense"):
        Preprocessing.from_json({**good, "image_std": [0.0, 1.0, 1.0]})
    keeps = Preprocessing.from_json({**good, "do_center_crop": False})
    with pytest.raises(LoadError, match="cannot be encoded together"):
        _ = keeps.size
    assert Preprocessing.from_json(
        {**good, "image_processor_type": "CLIPFeatureExtractor"}
    ) == Preprocessing.from_json(good)


@pytest.mark.parametrize("name", ["Bit", "CLIP", "Siglip", "ViT", "DeiT", "Beit"])
def test_what_a_file_does_not_say_is_as_the_processor_has_it(name: str) -> None:
    whole = getattr(transformers, f"{name}ImageProcessorPil")().to_dict()
    short = {
        k: v
        for k, v in whole.items()
        if k
        not in (
            "resample",
            "do_center_crop",
            "do_resize",
            "do_rescale",
            "rescale_factor",
            "do_normalize",
        )
    }
    assert Preprocessing.from_json(short) == Preprocessing.from_json(whole)


def test_pictures_in_memory_are_turned_and_laid_on_paper(tmp_path: Path) -> None:
    see = Preprocessing.from_json(
        {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": 8, "width": 8},
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
    )
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(40, 20).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        see(Image.open(tmp_path / "turned.png")), see(read_picture(tmp_path / "turned.png"))
    )
    assert see(Image.new("RGBA", (4, 4), (255, 0, 0, 0))).min() == 1


def test_a_ribbon_is_refused_before_it_fills_the_memory() -> None:
    long = Preprocessing.from_json(transformers.BitImageProcessorPil().to_dict())
    with pytest.raises(ImageError, match="too large to be cut afterwards"):
        long(Image.new("RGB", (20_000, 1)))
