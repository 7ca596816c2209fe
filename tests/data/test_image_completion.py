"""Images as functions of the place."""

import pytest
import torch

from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.data import ImageCompletion


@pytest.fixture(scope="module")
def data() -> ImageCompletion:
    return ImageCompletion("glyphs", {"drawings": 2})


def test_all_pixels_make_the_image_and_known_ones_are_of_it(data) -> None:
    tasks = data.tasks("test", Setting(0, 50, 784))
    episode = tasks.batch([3])
    image = episode.query.y[0].view(28, 28)
    assert any(torch.equal((255 * image).round().byte(), x[0]) for x in tasks.dataset.x)
    at = ((episode.support.x[0] + 1) / 2 * 27).round().long()
    assert len({tuple(place) for place in at.tolist()}) == 50
    assert torch.equal(image[at[:, 0], at[:, 1]], episode.support.y[0, :, 0])


def test_a_task_depends_on_its_number_alone(data) -> None:
    tasks = data.tasks("test", Setting(0, 5, 7))
    one, several = tasks.batch([4]), tasks.batch([2, 4])
    assert torch.equal(one.support.x[0], several.support.x[1])
    assert torch.equal(one.query.y[0], several.query.y[1])


def test_numbers_of_known_pixels_are_drawn_for_sixteen_tasks_in_a_row() -> None:
    varied = ImageCompletion("glyphs", {"drawings": 2}, most=30)
    tasks = varied.tasks("train", Setting(0, 5, 7))
    sizes = [tasks.batch([16 * block, 16 * block + 15]).support.x.shape[1] for block in range(12)]
    assert len(set(sizes)) > 3
    assert min(sizes) >= 3
    assert max(sizes) <= 30
    with pytest.raises(EpisodeError, match="one block of 16"):
        tasks.batch([16 * sizes.index(min(sizes)), 16 * sizes.index(max(sizes))])


def test_mistakes(data) -> None:
    with pytest.raises(ConfigError, match="No data is called"):
        ImageCompletion("glyfs")
    with pytest.raises(ConfigError, match="holds no images"):
        ImageCompletion("sinusoid")
    with pytest.raises(ConfigError, match="at least 4 known pixels"):
        ImageCompletion("glyphs", most=2)
    with pytest.raises(EpisodeError, match="n_way must be 0"):
        data.tasks("test", Setting(2, 5, 5))
    with pytest.raises(EpisodeError, match="784 pixels"):
        data.tasks("test", Setting(0, 5, 785))
