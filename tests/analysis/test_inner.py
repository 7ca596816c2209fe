import json

import pytest
import torch

from quickstudy.algorithms import ProtoNet, imaml, maml, unicorn_maml
from quickstudy.analysis import compare_orders, label_permutations, step_curve, write_report
from quickstudy.core.errors import ConfigError
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode, Examples
from quickstudy.data import Glyphs, Sinusoid
from quickstudy.encoders import MLP, Conv4

GLYPHS = Glyphs()


def tasks(n_way=3, split="test"):
    return GLYPHS.tasks(split, Setting(n_way, 1, 3))


def learner_of(builder=maml, **options):
    torch.manual_seed(0)
    return builder(Conv4(width=4, norm="batch"), **options)


def test_the_curve_ends_where_the_learner_does_and_goes_on():
    learner = learner_of(n_out=3, inner_lr=0.5, inner_steps=2)
    curve = step_curve(learner, tasks(), n_tasks=4)
    expected = [float(e.target.score(learner(e), e.query.y)) for e in tasks().batches(range(4), 1)]
    assert len(curve.means) == 6
    assert curve.trained_steps == 2
    assert curve.means[2] == pytest.approx(sum(expected) / 4)
    none = learner_of(n_out=3, inner_lr=0.5, inner_steps=0).eval()
    none.load_state_dict(learner.state_dict())
    start = [float(e.target.score(none(e), e.query.y)) for e in tasks().batches(range(4), 1)]
    assert curve.means[0] == pytest.approx(sum(start) / 4)


def test_the_curve_of_a_regression_is_minus_the_error(tmp_path):
    waves = Sinusoid().tasks("test", Setting(0, 5, 5))
    curve = step_curve(maml(MLP(1), n_out=1, inner_lr=0.01), waves, n_tasks=3, steps=4)
    assert curve.metric == "minus the mean squared error"
    assert len(curve.rows()) == 5
    assert curve.means[4] > curve.means[0]
    assert curve.draw(tmp_path / "curve.png").stat().st_size > 5_000


def test_all_orders_of_a_task_by_hand():
    learner = learner_of(n_out=3, inner_lr=0.5, inner_steps=2).eval()
    report = label_permutations(learner, tasks(), n_tasks=2)
    assert (report.n_orders, report.all) == (6, True)
    for number, (mean, worst, best) in enumerate(report.by_task):
        e, scores = tasks().batch([number]), []
        for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
            names = torch.tensor(order)
            renamed = Episode(
                Examples(e.support.x, names[e.support.y]),
                Examples(e.query.x, names[e.query.y]),
                e.target,
            )
            scores.append(float(e.target.score(learner(renamed), renamed.query.y)))
        assert (mean, worst, best) == pytest.approx(
            (sum(scores) / 6, min(scores), max(scores)), abs=1e-6
        )
    assert max(best - worst for _, worst, best in report.by_task) > 0


@pytest.mark.parametrize("builder", [ProtoNet, unicorn_maml])
def test_an_equivariant_learner_does_not_care(builder, tmp_path):
    report = label_permutations(learner_of(builder), tasks(5), n_tasks=2, most_orders=10)
    assert (report.n_orders, report.all) == (10, False)
    assert all(best - worst < 0.1 for _, worst, best in report.by_task)
    assert report.draw(tmp_path / "orders.png").stat().st_size > 5_000


def test_without_steps_there_is_one_order():
    report = compare_orders(learner_of(n_out=3, inner_steps=0), tasks(), n_tasks=2)
    assert report.cosine[0] == pytest.approx(1.0)
    assert report.ratio[0] == pytest.approx(1.0)


def test_with_steps_the_two_gradients_differ(tmp_path):
    learner = learner_of(n_out=3, inner_lr=0.5, inner_steps=3)
    report = compare_orders(learner, tasks(), n_tasks=3)
    assert 0 < report.cosine[0] < 0.999
    assert set(report.by_part) == {n for n, _ in learner.named_parameters()}
    assert not learner.loop.first_order
    assert report.draw(tmp_path / "order.png").stat().st_size > 5_000
    about = json.loads(
        write_report(report, tmp_path / "a" / "order.json", about={"recipe": "x"}).read_text()
    )
    assert about["recipe"] == "x"
    assert about["n_tasks"] == 3


def test_what_has_no_inner_loop_or_no_classes_is_refused():
    with pytest.raises(ConfigError, match="ProtoNet has no inner loop to look into"):
        step_curve(ProtoNet(MLP(784)), tasks(), n_tasks=2)
    with pytest.raises(ConfigError, match="no classes to permute"):
        label_permutations(
            maml(MLP(1), n_out=1), Sinusoid().tasks("test", Setting(0, 5, 5)), n_tasks=2
        )
    with pytest.raises(ConfigError, match="ImplicitLoop has no first and second order"):
        compare_orders(learner_of(imaml, n_out=3), tasks(), n_tasks=2)
