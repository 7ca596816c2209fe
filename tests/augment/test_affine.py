import pytest
import torch

from quickstudy.augment import Affine
from quickstudy.core.errors import EpisodeError
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.testing import toy_episode


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(**options):
    return toy_episode(shape=(2, 28, 28), **options)


def equal(a, b):
    return torch.equal(a.support.x, b.support.x) and torch.equal(a.query.x, b.query.x)


def blob(*, size=41, at=20.0, n=200):
    """A soft spot in the middle of each of ``n`` images."""
    grid = torch.arange(float(size))
    spot = torch.exp(-((grid[:, None] - at) ** 2 + (grid[None] - at) ** 2) / 8)
    x = spot.expand(1, n, 1, size, size).clone()
    return Episode(
        Examples(x, torch.zeros(1, n, dtype=torch.long)),
        Examples(x[:, :1], torch.zeros(1, 1, dtype=torch.long)),
        Classes(1),
    )


def centres(x):
    """Row and column of each image's centre of mass."""
    grid = torch.arange(float(x.shape[-1]))
    mass = x.sum((-1, -2))
    return torch.stack(
        ((x.sum(-1) * grid).sum(-1) / mass, (x.sum(-2) * grid).sum(-1) / mass), -1
    ).flatten(0, 2)


def test_the_generator_decides_everything():
    e, change = images(), Affine()
    assert equal(change(e, generator(1)), change(e, generator(1)))
    assert not equal(change(e, generator(1)), change(e, generator(2)))
    torch.manual_seed(99)
    assert equal(change(e, generator(1)), Affine()(e, generator(1)))


def test_probability_zero_changes_nothing():
    e = images()
    assert equal(Affine(probability=0.0)(e, generator()), e)


def test_no_strength_changes_nothing():
    e = images()
    same = Affine(degrees=0.0, scale=0.0, shift=0.0, probability=1.0)(e, generator())
    torch.testing.assert_close(same.support.x, e.support.x, rtol=0, atol=1e-5)
    torch.testing.assert_close(same.query.x, e.query.x, rtol=0, atol=1e-5)


def test_about_that_part_of_the_images_is_changed_the_others_stay_as_they_are():
    e = blob(n=1000)
    changed = (Affine(probability=0.3)(e, generator()).support.x != e.support.x).flatten(2).any(2)
    assert 0.25 < changed.float().mean() < 0.35
    assert (
        (Affine(probability=1.0)(e, generator()).support.x != e.support.x).flatten(2).any(2).all()
    )


def test_shapes_types_labels_masks_and_the_original_are_kept():
    e = images()
    mask = torch.ones(3, 8, dtype=torch.bool)
    e = Episode(Examples(e.support.x.double(), e.support.y, mask), e.query, e.target)
    before = e.support.x.clone()
    out = Affine(probability=1.0)(e, generator())
    assert out.support.x.shape == e.support.x.shape
    assert (out.support.x.dtype, out.query.x.dtype) == (torch.float64, torch.float32)
    assert out.support.y is e.support.y
    assert out.support.mask is mask
    assert out.query.y is e.query.y
    assert out.target == e.target
    assert torch.equal(e.support.x, before)


def test_every_image_gets_a_change_of_its_own():
    x = Affine(probability=1.0)(blob(n=20), generator()).support.x[0]
    for i in range(20):
        for j in range(i):
            assert not torch.equal(x[i], x[j])


def test_shifts_keep_within_their_bounds_and_use_them():
    change = Affine(degrees=0.0, scale=0.0, shift=0.1, probability=1.0)
    moved = centres(change(blob(), generator()).support.x) - 20
    assert moved.abs().max() <= 4.1 + 1e-3
    assert (moved.abs().max(0).values > 3.5).all()
    assert moved.mean(0).abs().max() < 0.6
    assert abs(torch.corrcoef(moved.T)[0, 1]) < 0.25


def test_turns_shears_and_scales_leave_the_middle_where_it_is():
    out = Affine(degrees=30.0, scale=0.3, shift=0.0, probability=1.0)(blob(), generator()).support.x
    assert (centres(out) - 20).abs().max() < 0.05


def test_scales_keep_within_their_bounds():
    out = Affine(degrees=0.0, scale=0.2, shift=0.0, probability=1.0)(blob(), generator()).support.x
    # the grid is stretched by 1 ± 0.2, so areas by its inverse square
    area = out.sum((-1, -2)) / blob(n=1).support.x.sum()
    assert area.min() > 1 / 1.21**2
    assert area.max() < 1 / 0.79**2
    assert area.min() < 0.75
    assert area.max() > 1.4


def test_what_comes_in_from_outside_is_zero():
    e = toy_episode(n_tasks=1, shape=(1, 16, 16))
    ones = Episode(
        Examples(torch.ones_like(e.support.x), e.support.y),
        Examples(torch.ones_like(e.query.x), e.query.y),
        e.target,
    )
    out = Affine(shift=0.5, probability=1.0)(ones, generator()).query.x
    assert out.min() == 0
    assert out.max() <= 1 + 1e-5


def test_channels_move_together():
    e = blob(n=10)
    both = Episode(
        Examples(e.support.x.expand(-1, -1, 3, -1, -1).clone(), e.support.y), e.query, e.target
    )
    out = Affine(probability=1.0)(both, generator()).support.x
    assert torch.equal(out[:, :, 0], out[:, :, 2])


def test_vectors_are_refused():
    with pytest.raises(
        EpisodeError,
        match=r"changes images, \[T N C H W\], but got examples of shape \(6,\)\. Leave it out for "
        r"vectors\.",
    ):
        Affine()(toy_episode(), generator())
