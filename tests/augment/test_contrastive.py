import pytest
import torch

from quickstudy.augment import Contrastive
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Episode, Examples


def episode(n_tasks: int = 2, shape=(1, 28, 28)) -> Episode:
    """Image i is a bright square of its own brightness in the middle."""
    x = torch.zeros(n_tasks, 5, *shape)
    for i in range(5):
        x[:, i, :, 10:18, 10:18] = 1 + i
    y = torch.zeros(n_tasks, 5, dtype=torch.long)
    return Episode(Examples(x[:, :3], y[:, :3]), Examples(x[:, 3:], y[:, 3:]), Classes(1))


@pytest.mark.parametrize(("support", "queries"), [(1, 1), (1, 3), (2, 1)])
def test_every_image_is_a_class_and_all_examples_are_its_views(support: int, queries: int) -> None:
    task = Contrastive(support=support, queries=queries)(
        episode(), torch.Generator().manual_seed(0)
    )
    assert task.target == Classes(5)
    assert task.classes is None
    for part, times in ((task.support, support), (task.query, queries)):
        assert part.x.shape == (2, 5 * times, 1, 28, 28)
        assert part.y[0].bincount().tolist() == [times] * 5
        for t in range(2):
            for x, y in zip(part.x[t], part.y[t], strict=True):
                assert float(x.max()) == pytest.approx(1 + int(y), rel=1e-4)  # whose image it is
    views = [*task.support.x.flatten(0, 1), *task.query.x.flatten(0, 1)]
    assert len({tuple(v.flatten().tolist()) for v in views}) == len(views)


def test_it_depends_on_the_generator_alone() -> None:
    a, b, c = (
        Contrastive()(episode(), torch.Generator().manual_seed(seed)).query.x for seed in (0, 0, 1)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_views_of_photographs() -> None:
    task = Contrastive(views="photos")(episode(shape=(3, 32, 32)), torch.Generator().manual_seed(0))
    assert task.support.x.shape == (2, 5, 3, 32, 32)
    assert not torch.equal(task.support.x, task.query.x)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="a view or more"):
        Contrastive(queries=0)
    with pytest.raises(ConfigError, match="Did you mean 'photos'"):
        Contrastive(views="photo")
