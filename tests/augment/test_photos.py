"""Photographs cut out, mirrored, and in another light."""

import pytest
import torch

from quickstudy.augment import Photos
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.functional.views import photo_views
from quickstudy.testing import toy_episode


def images(n: int = 8) -> torch.Tensor:
    return torch.rand(n, 3, 20, 20, generator=torch.Generator().manual_seed(1))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_strength_nothing_changes_and_mirrors_are_exact() -> None:
    x = images()
    torch.testing.assert_close(
        photo_views(x, seeded(), crop=1.0, mirror=0.0, light=0.0), x, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(
        photo_views(x, seeded(), crop=1.0, mirror=1.0, light=0.0), x.flip(3), atol=1e-5, rtol=1e-5
    )


def test_light_keeps_the_order_of_pixels_and_stays_within_its_bounds() -> None:
    x = images()
    out = photo_views(x, seeded(), crop=1.0, mirror=0.0, light=0.2)
    for before, after in zip(x, out, strict=True):
        slope, level = (
            torch.linalg.lstsq(
                torch.stack((before.flatten(), torch.ones(1200)), 1), after.flatten()[:, None]
            )
            .solution.flatten()
            .tolist()
        )
        assert 0.8 <= slope <= 1.2
        torch.testing.assert_close(after, slope * before + level, atol=1e-4, rtol=1e-4)
        assert abs(float(after.mean() - before.mean())) <= 0.2


def test_a_crop_shows_a_part_of_at_least_that_side() -> None:
    across = torch.arange(20.0).expand(64, 1, 20, 20)  # the value is the column
    out = photo_views(across, seeded(), crop=0.5, mirror=0.0, light=0.0)
    width = out.amax((1, 2, 3)) - out.amin((1, 2, 3))
    assert float(width.min()) >= 0.5 * 19 - 1.1
    assert float(width.max()) <= 19
    assert float(width.std()) > 1
    assert float(out.min()) >= 0
    assert float(out.max()) <= 19


def test_it_belongs_to_its_generator_and_refuses_vectors() -> None:
    e = toy_episode(shape=(3, 16, 16))
    first, again, other = (Photos()(e, seeded(s)) for s in (0, 0, 1))
    assert torch.equal(first.support.x, again.support.x)
    assert not torch.equal(first.support.x, other.support.x)
    assert torch.equal(first.support.y, e.support.y)
    with pytest.raises(EpisodeError, match="changes images"):
        Photos()(toy_episode(), seeded())
    with pytest.raises(ConfigError, match="crop lies in"):
        Photos(crop=0.0)
