"""Tasks of CAMeLU: every image a class, its queries mixed with others."""

import pytest
import torch

from quickstudy.augment import MixedViews
from quickstudy.core.errors import ConfigError, EpisodeError
from quickstudy.core.types import Classes, Episode, Examples


def episode(n: int = 3) -> Episode:
    """Image i is even, of brightness i + 1; the others have brightness 100, 200, …"""
    level = torch.arange(1.0, n + 1).view(1, n, 1, 1, 1)
    x = level.expand(2, n, 1, 8, 8).clone()
    y = torch.zeros(2, n, dtype=torch.long)
    return Episode(Examples(x, y), Examples(100 * x, y), Classes(1))


def still(**options) -> MixedViews:
    """Views that are the images themselves."""
    return MixedViews(degrees=0.0, scale=0.0, shift=0.0, **options)


def test_queries_hold_more_of_their_own_image_than_of_the_other() -> None:
    task = still(support=2, queries=2)(episode(), torch.Generator().manual_seed(0))
    assert task.target == Classes(3)
    assert task.support.y[0].tolist() == [0, 1, 2, 0, 1, 2]
    assert task.query.y[0].tolist() == [0, 1, 2, 0, 1, 2]
    torch.testing.assert_close(task.support.x.amax((2, 3, 4)), task.support.y + 1.0)
    own = task.query.y + 1.0
    level = task.query.x.amax((2, 3, 4))
    share = (level - own) / (99 * own)  # other image i has 100 times the brightness of image i
    assert float(share.min()) >= 0.01 - 1e-4
    assert float(share.max()) <= 0.5
    assert len(set(share.flatten().tolist())) == share.numel()


def test_other_images_are_taken_in_turn() -> None:
    few = episode()
    few = Episode(few.support, Examples(few.query.x[:, :1], few.query.y[:, :1]), Classes(1))
    task = still()(few, torch.Generator().manual_seed(0))
    assert task.query.x.shape == (2, 3, 1, 8, 8)
    assert float(task.query.x.max()) < 53  # all mixed with the one of brightness 100


def test_it_depends_on_the_generator_alone() -> None:
    a, b, c = (MixedViews()(episode(), torch.Generator().manual_seed(s)).query.x for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_mistakes() -> None:
    with pytest.raises(EpisodeError, match="at least 2 images"):
        MixedViews()(episode(1), torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="a view or more"):
        MixedViews(queries=0)
