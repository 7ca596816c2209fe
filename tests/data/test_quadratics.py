import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quickstudy.core.describe import describe, rebuild
from quickstudy.core.errors import DataError, EpisodeError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Reals
from quickstudy.data import Quadratics

SETTING = Setting(0, 10, 10)


def test_what_a_task_is() -> None:
    e = Quadratics().tasks("train", SETTING).batch(range(4))
    assert e.support.x.shape == (4, 10, 10)
    assert e.support.y.shape == (4, 10, 1)
    assert e.target == Reals(1)
    assert torch.equal(e.support.x, e.query.x)
    assert torch.equal(e.support.y, e.query.y)


def test_the_law() -> None:
    """W is standard normal; y − Wθ₀ has the variance 1 + dim given W, and f(θ₀) the mean dim (1 +
    dim).
    """
    e = Quadratics().tasks("train", SETTING).batch(range(3000))
    assert float(e.support.x.mean()) == pytest.approx(0, abs=0.01)
    assert float(e.support.x.var()) == pytest.approx(1, rel=0.02)
    assert float(e.support.y.square().sum((1, 2)).mean()) == pytest.approx(110, rel=0.05)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=5), st.integers(0, 3), st.integers(1, 6)
)
def test_a_task_depends_on_its_number_alone(numbers: list[int], seed: int, dim: int) -> None:
    tasks = Quadratics(dim=dim).tasks("val", Setting(0, dim, dim), seed=seed)
    together = tasks.batch(numbers)
    for t, number in enumerate(numbers):
        alone = tasks.batch([number])
        assert torch.equal(together.support.x[t], alone.support.x[0])
        assert torch.equal(together.support.y[t], alone.support.y[0])


def test_the_splits_differ() -> None:
    drawn = [
        Quadratics().tasks(split, SETTING).batch([0]).support.x
        for split in ("train", "val", "test")
    ]
    assert not any(torch.equal(a, b) for a, b in ((drawn[0], drawn[1]), (drawn[1], drawn[2])))


def test_mistakes() -> None:
    with pytest.raises(DataError, match=r"no split 'tests'.*test"):
        Quadratics().tasks("tests", SETTING)
    with pytest.raises(EpisodeError, match="n_way=0, n_shot=10 and n_query=10"):
        Quadratics().tasks("test", Setting(0, 5, 10))


def test_it_is_described() -> None:
    assert rebuild(describe(Quadratics(dim=4))).dim == 4
