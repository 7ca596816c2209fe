import math

import pytest
import torch

from quickstudy.algorithms.in_context import TabularInContext
from quickstudy.algorithms.in_context.columns import cell_features, column_state
from quickstudy.core.errors import ConfigError, TargetError
from quickstudy.core.rng import seed_everything
from quickstudy.core.types import Classes, Examples, Reals
from quickstudy.data.priors import PriorTables, TableSizes
from quickstudy.testing import Subject, yield_checks

SMALL = {"width": 16, "heads": 1, "n_summary": 2, "grid_layers": 1, "row_layers": 1, "n_bins": 16}


@pytest.fixture
def learner():
    seed_everything("test", "tabular")
    made = TabularInContext(**SMALL).double().eval()
    for p in made.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    return made


@pytest.fixture
def episode():
    return _double(PriorTables("val", TableSizes(classes=(4, 4), regression=0.0)).batch([0, 1, 2]))


@pytest.fixture
def numbers():
    return _double(PriorTables("val", TableSizes(regression=1.0)).batch([0, 1, 2]))


def _double(e):
    def wide(part):
        y = part.y.double() if part.y.is_floating_point() else part.y
        return Examples(part.x.double(), y)

    return type(e)(wide(e.support), wide(e.query), e.target)


def _answer(learner, support, target, x):
    return learner.predict(learner.adapt(support, target), x)


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_keeps_the_contract(n_tasks):
    seed_everything("test", "tabular contract")
    learner = TabularInContext(**SMALL)
    for check in yield_checks(learner.traits):
        if n_tasks == 1 or check.__name__ in ("check_shapes", "check_tasks_do_not_leak"):
            check(Subject(learner, n_tasks=n_tasks))


def test_rows_have_no_order(learner, episode, numbers):
    for e in (episode, numbers):
        order = torch.randperm(e.support.x.shape[1])
        shuffled = Examples(e.support.x[:, order], e.support.y[:, order])
        torch.testing.assert_close(
            _answer(learner, shuffled, e.target, e.query.x),
            _answer(learner, e.support, e.target, e.query.x),
            rtol=0,
            atol=1e-5,
        )


def test_columns_have_no_order(learner, episode, numbers):
    for e in (episode, numbers):
        order = torch.randperm(e.support.x.shape[2])
        torch.testing.assert_close(
            _answer(
                learner,
                Examples(e.support.x[..., order], e.support.y),
                e.target,
                e.query.x[..., order],
            ),
            _answer(learner, e.support, e.target, e.query.x),
            rtol=0,
            atol=1e-5,
        )


def test_classes_have_no_order(learner, episode):
    names = torch.randperm(4)
    renamed = Examples(episode.support.x, names[episode.support.y])
    torch.testing.assert_close(
        _answer(learner, renamed, episode.target, episode.query.x)[..., names],
        _answer(learner, episode.support, episode.target, episode.query.x),
        rtol=0,
        atol=1e-5,
    )


def test_the_unit_of_a_column_does_not_matter(learner, episode):
    scale = torch.tensor(1000.0).double()
    torch.testing.assert_close(
        _answer(
            learner,
            Examples(episode.support.x * scale + 7, episode.support.y),
            episode.target,
            episode.query.x * scale + 7,
        ),
        _answer(learner, episode.support, episode.target, episode.query.x),
        rtol=0,
        atol=1e-3,
    )


def test_numbers_are_answered_in_their_own_unit(learner, numbers):
    e = numbers
    moved = Examples(e.support.x, 100 * e.support.y - 3)
    torch.testing.assert_close(
        _answer(learner, moved, e.target, e.query.x),
        100 * _answer(learner, e.support, e.target, e.query.x) - 3,
    )


def test_several_numbers_are_answered_as_one_at_a_time(learner, numbers):
    e = numbers
    both = Examples(e.support.x, torch.cat((e.support.y, e.support.y**2), 2))
    got = _answer(learner, both, Reals(2), e.query.x)
    for d in range(2):
        alone = Examples(e.support.x, both.y[..., [d]])
        torch.testing.assert_close(got[..., [d]], _answer(learner, alone, Reals(1), e.query.x))


def test_a_column_without_a_value_tells_nothing_and_breaks_nothing(learner, episode):
    holes = torch.full_like(episode.support.x[..., :1], torch.nan)
    empty = torch.full_like(episode.query.x[..., :1], torch.nan)
    out = _answer(
        learner,
        Examples(torch.cat((episode.support.x, holes), 2), episode.support.y),
        episode.target,
        torch.cat((episode.query.x, empty), 2),
    )
    assert out.isfinite().all()


def test_the_loss_is_the_likelihood(learner, episode, numbers):
    out = learner(episode)
    expected = -out.log_softmax(-1).gather(2, episode.query.y[..., None])[..., 0].mean(1)
    torch.testing.assert_close(learner.loss(episode), expected / math.log(4))
    e = numbers
    state = learner.adapt(e.support, e.target)
    share = learner.distribution(state, e.query.x)
    z = (e.query.y - share.mean_of_target) / share.scale_of_target
    at = torch.bucketize(z, learner.borders)
    nll = -share.log_share.gather(-1, at[..., None])[..., 0].mean((1, 2))
    torch.testing.assert_close(learner.loss(e), nll / math.log(16))


def test_another_coding_is_another_member_of_an_ensemble(learner, episode):
    first = learner.raw(learner.read(episode.support, episode.target), episode.query.x)
    coding = torch.arange(10).flip(0).expand(3, -1)
    other = learner.raw(learner.read(episode.support, episode.target, coding), episode.query.x)
    same = learner.raw(
        learner.read(episode.support, episode.target, torch.arange(10).expand(3, -1)),
        episode.query.x,
    )
    torch.testing.assert_close(same, first)
    assert (other - first).abs().max() > 1e-6


def test_more_classes_than_directions_are_refused(learner):
    support = Examples(torch.randn(1, 11, 2).double(), torch.arange(11)[None])
    with pytest.raises(TargetError, match="11 classes"):
        learner.adapt(support, Classes(11))


@pytest.mark.parametrize("wrong", [{"max_classes": 17}, {"max_classes": 1}, {"n_bins": 2}])
def test_refuses_numbers_out_of_range(wrong):
    with pytest.raises(ConfigError):
        TabularInContext(**{**SMALL, **wrong})


def test_features_of_cells_by_hand():
    x = torch.tensor([[[1.0], [2.0], [2.0], [7.0], [torch.nan]]])
    mean, std, n, _ = column_state(x)
    assert (mean.item(), n.item()) == (3.0, 4.0)
    assert std.item() == pytest.approx((22 / 4) ** 0.5)
    z, log, rank, hole = cell_features(x, (mean, std, n, column_state(x)[3]))[0, 0, :, -4:].T
    assert z[3].item() == pytest.approx(4 / std.item(), rel=1e-4)
    assert log[0].item() == pytest.approx(-math.log1p(2 / std.item()), rel=1e-4)
    assert rank.tolist() == [-0.75, 0.0, 0.0, 0.75, 0.0]
    assert hole.tolist() == [0, 0, 0, 0, 1]
