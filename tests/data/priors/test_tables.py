import pytest
import torch

from quickstudy.core.errors import ConfigError, DataError, EpisodeError
from quickstudy.core.rng import generator
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Reals
from quickstudy.data.priors import PriorTables, TablePrior, TableSizes
from quickstudy.data.priors.mechanisms import MECHANISMS, draw_mechanism

SIZES = TableSizes(block=4)


def test_a_task_depends_on_its_number_alone():
    tasks = PriorTables("train", SIZES, seed=3)
    together, alone = tasks.batch([4, 5, 6, 7]), PriorTables("train", SIZES, seed=3).batch([6])
    for part in ("support", "query"):
        a, b = getattr(together, part), getattr(alone, part)
        torch.testing.assert_close(a.x[2:3], b.x, equal_nan=True, rtol=0, atol=0)
        assert torch.equal(a.y[2:3], b.y)


@pytest.mark.parametrize("other", [("val", 3), ("train", 4)])
def test_another_split_or_seed_is_another_stream(other):
    split, seed = other
    a = PriorTables("train", TableSizes(rows=(9, 9), columns=(3, 3)), seed=3).batch([0])
    b = PriorTables(split, TableSizes(rows=(9, 9), columns=(3, 3)), seed=seed).batch([0])
    assert not torch.equal(a.support.x, b.support.x)


def test_sizes_lie_within_the_bounds_and_vary():
    sizes = TableSizes(rows=(8, 40), columns=(2, 6), classes=(2, 5), regression=0.5, block=1)
    drawn = [PriorTables("train", sizes).size(i) for i in range(400)]
    assert {s.columns for s in drawn} == {2, 3, 4, 5, 6}
    assert {s.classes for s in drawn} == {0, 2, 3, 4, 5}
    assert min(s.rows for s in drawn) >= 8
    assert max(s.rows for s in drawn) <= 40
    assert 0.4 < sum(s.classes == 0 for s in drawn) / 400 < 0.6


def test_every_class_is_in_the_support_and_no_query_is_of_another():
    tasks = PriorTables("train", TableSizes(rows=(8, 30), regression=0.0, block=1))
    for i in range(150):
        e = tasks.batch([i])
        assert e.support.y.unique().tolist() == list(range(e.target.n))
        assert set(e.query.y.unique().tolist()) <= set(range(e.target.n))


def test_classes_are_often_unbalanced_and_sometimes_even():
    tasks = PriorTables(
        "train", TableSizes(rows=(100, 100), classes=(2, 2), regression=0.0, block=1)
    )
    shares = torch.stack([tasks.batch([i]).query.y.double().mean() for i in range(150)])
    smaller = torch.minimum(shares, 1 - shares)
    assert (smaller < 0.25).double().mean() > 0.15
    assert (smaller > 0.4).double().mean() > 0.15


def test_tables_have_what_real_ones_have():
    tasks = PriorTables("train", TableSizes(rows=(60, 60), columns=(6, 6), block=1))
    tables = [tasks.batch([i]).support.x[0] for i in range(120)]
    holes = [t.isnan().any() for t in tables]
    assert 0.05 < torch.stack(holes).double().mean() < 0.4
    levels = torch.tensor([len(c[~c.isnan()].unique()) for t in tables for c in t.T])
    assert (levels == 2).double().mean() > 0.05  # binary
    assert ((levels > 2) & (levels < 12)).double().mean() > 0.05  # categories and steps
    assert (levels > 50).double().mean() > 0.3  # continuous
    assert not any(t.isinf().any() for t in tables)


def test_numbers_are_finite_and_standard():
    tasks = PriorTables("train", TableSizes(regression=1.0, block=1))
    for i in range(60):
        e = tasks.batch([i])
        assert e.target == Reals(1)
        y = torch.cat((e.support.y, e.query.y), 1)
        assert y.isfinite().all()
        assert y.std() < 1.1


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize(("n_columns", "n_outputs"), [(1, 1), (2, 5), (40, 10)])
def test_mechanisms_give_what_they_are_asked_for(name, n_columns, n_outputs):
    x, out = MECHANISMS[name][1](30, n_columns, n_outputs, generator("test", name))
    assert x.shape == (30, n_columns)
    assert out.shape == (30, n_outputs)
    assert x.isfinite().all()
    assert out.isfinite().all()


def test_every_mechanism_is_drawn():
    assert sum(share for share, _ in MECHANISMS.values()) == pytest.approx(1)
    x, out = draw_mechanism(500, 3, 2, generator("test", 0))
    torch.testing.assert_close(out.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    assert x.shape == (500, 3)


def test_there_is_something_to_learn():
    # The nearest labelled row knows more than chance does, on average over the stream.
    tasks = PriorTables(
        "val", TableSizes(rows=(100, 100), columns=(2, 6), classes=(2, 2), regression=0.0, block=1)
    )
    right = []
    for i in range(60):
        e = tasks.batch([i])
        x = torch.cat((e.support.x, e.query.x), 1)[0].nan_to_num()
        x = (x - x.mean(0)) / (x.std(0) + 1e-6)
        near = torch.cdist(x[100:], x[:100]).argmin(1)
        even = [(e.query.y[0] == c).double().mean() for c in range(2)]
        guess = max(even)
        right.append((e.support.y[0][near] == e.query.y[0]).double().mean() - (1 - guess))
    assert torch.stack(right).mean() > 0.25


def test_tasks_of_a_fixed_size():
    e = TablePrior().tasks("test", Setting(n_way=3, n_shot=5, n_query=4), seed=1).batch([7])
    assert e.target == Classes(3)
    assert e.support.x.shape[1] == 15
    assert e.query.x.shape[1] == 12
    e = TablePrior().tasks("test", Setting(n_way=0, n_shot=20, n_query=9)).batch([0])
    assert e.target == Reals(1)
    assert e.support.y.shape == (1, 20, 1)


def test_tasks_of_different_sizes_do_not_fit_in_one_batch():
    tasks = PriorTables("train", TableSizes(block=1))
    with pytest.raises(EpisodeError, match="sizes"):
        tasks.batch(range(10))


def test_there_is_no_other_split():
    with pytest.raises(DataError, match="no split 'trian'"):
        PriorTables("trian", SIZES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows": (9, 8)},
        {"rows": (3, 9)},
        {"classes": (1, 2)},
        {"rows": (8, 9), "classes": (9, 9)},
        {"regression": 1.1},
        {"block": 0},
        {"queries": 0},
    ],
)
def test_refuses_sizes_that_make_no_task(wrong):
    with pytest.raises(ConfigError):
        TableSizes(**wrong)
