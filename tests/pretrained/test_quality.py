"""What is said of pictures that are made to be wrong in one way each."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from quickstudy.pretrained.quality import picture_quality


def scene(width: int = 160, height: int = 200) -> Image.Image:
    """Patches of grey of many sizes, as a photograph has."""
    rng = np.random.default_rng(0)
    grey = np.zeros((height, width))
    for size in (4, 10, 40):
        coarse = rng.uniform(0, 255 / 3, (-(-height // size), -(-width // size)))
        grey += np.kron(coarse, np.ones((size, size)))[:height, :width]
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def drawing() -> Image.Image:
    paper = np.full((105, 105), 255, np.uint8)
    paper[20:90, 50:52] = 0
    return Image.fromarray(paper)


@pytest.mark.parametrize(
    "picture",
    [scene(), scene(64, 64), scene(900, 700), drawing(), Image.eval(drawing(), lambda v: 255 - v)],
)
def test_nothing_is_wrong_with_good_ones(picture: Image.Image) -> None:
    assert picture_quality(picture).warnings == ()


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (scene(27, 300), "it is tiny, 27 pixels on its shorter side (expected 28 or more)"),
        (Image.eval(scene(), lambda v: v // 5), "it is too dark (brightness 0.1"),
        (scene().filter(ImageFilter.GaussianBlur(6)), "it is blurred (sharpness 0.0"),
        (scene(640, 800).filter(ImageFilter.GaussianBlur(24)), "it is blurred (sharpness 0.0"),
        (
            Image.new("L", (200, 200), 240),
            "it has hardly any contrast (0.00, expected 0.10 or more)",
        ),
        (Image.eval(scene(), lambda v: 100 + v // 16), "it has hardly any contrast (0.0"),
    ],
)
def test_each_flaw_is_named_and_no_other(picture: Image.Image, told: str) -> None:
    (said,) = picture_quality(picture).warnings
    assert said.startswith(told)


def test_the_numbers_by_hand() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8)
    found, a = picture_quality(Image.fromarray(grey)), grey / 255
    lap = [
        a[i - 1, j] + a[i + 1, j] + a[i, j - 1] + a[i, j + 1] - 4 * a[i, j]
        for i in range(1, 63)
        for j in range(1, 63)
    ]
    assert found.side == 64
    assert found.sharpness == pytest.approx(np.var(lap) / np.var(a[1:-1, 1:-1]))
    assert found.bright == pytest.approx(np.quantile(a, 0.99))
    assert found.contrast == pytest.approx(np.quantile(a, 0.9995) - np.quantile(a, 0.0005))


def test_contrast_does_not_count_as_sharpness() -> None:
    assert picture_quality(Image.eval(scene(), lambda v: v // 3 + 80)).sharpness == pytest.approx(
        picture_quality(scene()).sharpness, rel=0.05
    )
