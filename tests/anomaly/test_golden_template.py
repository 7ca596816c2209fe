"""The golden template: images that lie on each other are compared pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from quickstudy.anomaly import GoldenTemplate, PatchMemory
from quickstudy.core.errors import ConfigError, DataError


def board(seed: int, *, defect: bool = False) -> Image.Image:
    """A part with marks that lie where they always lie, moved, lit and noisy as photographs are."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (80, 60), (20, 90, 40))
    draw = ImageDraw.Draw(image)
    for left, top in ((8, 8), (30, 12), (52, 30), (14, 38), (60, 8)):
        draw.rectangle([left, top, left + 12, top + 8], fill=(200, 190, 90))
    if defect:
        draw.rectangle([30, 12, 42, 20], fill=(20, 90, 40))
    x = np.asarray(image, float)
    x = np.roll(x, (rng.integers(-1, 2), rng.integers(-1, 2)), (0, 1))
    x = x * rng.uniform(0.85, 1.15) + rng.normal(scale=4, size=x.shape)
    return Image.fromarray(np.clip(x, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def template() -> GoldenTemplate:
    return GoldenTemplate().fit([board(seed) for seed in range(20)])


def test_a_missing_mark_is_a_defect_and_is_seen_where_it_is(template: GoldenTemplate) -> None:
    assert template.is_registered
    good, bad = template.anomaly([board(40)]), template.anomaly([board(41, defect=True)])
    assert bad[0] > 3 * good[0]
    assert template.predict([board(41, defect=True)]).tolist() == [-1]
    heat = template.maps([board(41, defect=True)])[0]
    assert heat.shape == (60, 80)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 10 <= row <= 22
    assert 28 <= column <= 44


def test_good_parts_are_refused_as_rarely_as_promised(template: GoldenTemplate) -> None:
    refused = (template.predict([board(seed) for seed in range(100, 140)]) == -1).mean()
    assert refused <= 0.2  # 5 % promised; 9 of 40 or more have a probability below 0.0002


def test_images_that_do_not_lie_on_each_other_are_noticed() -> None:
    rng = np.random.default_rng(0)
    loose = [
        Image.fromarray(np.roll(np.asarray(board(seed)), rng.integers(10, 50, 2), (0, 1)))
        for seed in range(6)
    ]
    assert not GoldenTemplate().fit(loose).is_registered
    assert not GoldenTemplate().fit([board(0), board(1)]).is_registered  # too few to say


def test_another_shape_and_options_without_sense_are_refused(template: GoldenTemplate) -> None:
    with pytest.raises(DataError, match="40 × 60 pixels, but the template has 80 × 60"):
        template.anomaly([board(0).resize((40, 60))])
    with pytest.raises(ConfigError, match="reach"):
        GoldenTemplate(reach=0.7).fit([board(0)])
    with pytest.raises(ConfigError, match="no image"):
        GoldenTemplate().fit([])


@pytest.mark.parametrize(
    "scores", [np.zeros((2, 2)), np.asarray([1.0, np.nan]), np.asarray([np.inf])]
)
def test_saved_scores_that_make_no_sense_are_refused(
    template: GoldenTemplate, scores: np.ndarray
) -> None:
    arrays = template.to_arrays()
    again = GoldenTemplate.from_saved(template.to_json(), arrays)
    assert again.threshold_ == template.threshold_
    with pytest.raises(ValueError, match="scores of good parts"):
        GoldenTemplate.from_saved(template.to_json(), {**arrays, "good_scores": scores})


def test_a_memory_of_registered_parts_carries_a_template(tmp_path: Path) -> None:
    parts = [board(seed) for seed in range(6)]
    memory = PatchMemory("symbols").fit(parts)
    assert memory.template_ is not None
    loaded = PatchMemory.load(memory.save(tmp_path / "m"))
    assert loaded.template_ is not None
    asked = [board(50), board(51, defect=True)]
    assert loaded.template_.anomaly(asked) == pytest.approx(memory.template_.anomaly(asked))
    assert loaded.template_.is_registered
    assert PatchMemory("symbols", template="none").fit(parts).template_ is None
    with pytest.raises(ConfigError, match="template"):
        PatchMemory("symbols", template="maybe").fit(parts)
