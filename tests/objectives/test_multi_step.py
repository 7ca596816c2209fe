"""The loss after every inner step, against learners that stop there."""

import pytest
import torch

from quickstudy.algorithms import ProtoNet, fomaml, maml
from quickstudy.core.clock import set_clocks
from quickstudy.core.errors import ConfigError
from quickstudy.core.objective import MetaStep
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode, Examples
from quickstudy.data import Sinusoid
from quickstudy.encoders import MLP
from quickstudy.objectives import MultiStep, QueryLoss
from quickstudy.objectives.multi_step import step_weights
from quickstudy.testing import toy_episode
from quickstudy.training import Optimiser, Plan, train

RATE, STEPS = 0.3, 5
# v_1 = … = v_4 and v_5 for J = 5, from methods §1.6 by hand: with E = 10, max(0.2 − 0.02 e, 0.006)
# and min(0.2 + 0.08 e, 0.976);
# with E = 15, max(0.2 − e/75, 0.006) and min(0.2 + 4e/75, 0.976).
PUBLISHED = {
    (10, 0): (0.2, 0.2),
    (10, 1): (0.18, 0.28),
    (10, 4): (0.12, 0.52),
    (10, 7): (0.06, 0.76),
    (10, 9): (0.02, 0.92),
    (10, 9.7): (0.006, 0.976),
    (10, 10): (0.006, 0.976),
    (10, 50): (0.006, 0.976),
    (15, 0): (0.2, 0.2),
    (15, 3): (0.16, 0.36),
    (15, 6): (0.12, 0.52),
    (15, 12): (0.04, 0.84),
    (15, 14): (0.013333333333333, 0.946666666666667),
    (15, 15): (0.006, 0.976),
    (15, 99): (0.006, 0.976),
}


def double(e: Episode) -> Episode:
    return Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )


def maml_of(steps, *, first_order=False):
    torch.manual_seed(0)
    return maml(
        MLP(6, widths=(8,)), n_out=4, inner_lr=RATE, inner_steps=steps, first_order=first_order
    ).double()


def value_and_gradient(learner, objective, e):
    loss = objective(learner, e)
    return loss.detach(), torch.autograd.grad(loss, list(learner.parameters()))


@pytest.mark.parametrize(("annealing", "epoch"), PUBLISHED)
def test_the_weights_are_the_published_ones(annealing, epoch):
    early, last = PUBLISHED[annealing, epoch]
    weights = step_weights(STEPS, epoch=epoch, annealing_epochs=annealing)
    assert weights == pytest.approx([early] * 4 + [last], abs=1e-12)


@pytest.mark.parametrize("n_steps", [1, 2, 5, 10])
@pytest.mark.parametrize("epoch", [0, 3, 9, 10, 40])
def test_the_weights_are_shares_of_the_whole(n_steps, epoch):
    assert sum(step_weights(n_steps, epoch=epoch, annealing_epochs=10)) == pytest.approx(1)


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("n_tasks", [1, 3])
@pytest.mark.parametrize(("done", "epoch"), [(0, 0), (499, 0), (500, 1), (2_250, 4), (4_999, 9)])
def test_it_is_the_weighted_sum_of_learners_that_stop_after_each_step(
    done, epoch, n_tasks, first_order
):
    objective, e = MultiStep(), double(toy_episode(n_tasks=n_tasks))
    set_clocks(objective, done)
    loss, gradient = value_and_gradient(maml_of(STEPS, first_order=first_order), objective, e)
    early, last = PUBLISHED[10, epoch]
    parts = [
        value_and_gradient(maml_of(j, first_order=first_order), QueryLoss(), e)
        for j in range(1, STEPS + 1)
    ]
    weights = [early] * 4 + [last]
    torch.testing.assert_close(
        loss, sum(v * part for v, (part, _) in zip(weights, parts, strict=True)), rtol=1e-10, atol=0
    )
    for i, g in enumerate(gradient):
        expected = sum(v * part[i] for v, (_, part) in zip(weights, parts, strict=True))
        assert (g - expected).norm() <= 1e-10 * expected.norm()


@pytest.mark.parametrize("done", [5_000, 80_000])
def test_after_the_annealing_only_the_last_step_counts(done):
    objective, e = MultiStep(), double(toy_episode())
    set_clocks(objective, done)
    (loss, gradient), (expected, slope) = (
        value_and_gradient(maml_of(STEPS), of, e) for of in (objective, QueryLoss())
    )
    assert torch.equal(loss, expected)
    assert all(torch.equal(a, b) for a, b in zip(gradient, slope, strict=True))


def test_with_one_inner_step_it_is_the_query_loss():
    e = double(toy_episode())
    assert torch.equal(MultiStep()(maml_of(1), e), QueryLoss()(maml_of(1), e))


def test_training_moves_the_weight_to_the_last_step():
    """Six outer steps of two per epoch, three epochs in all, then the last loss alone."""
    tasks = Sinusoid().tasks("train", Setting(0, 5, 5))
    objective = MultiStep(annealing_steps=6, epoch=2)
    weights = []
    step = MetaStep(maml(MLP(1, widths=(4,)), n_out=1, inner_lr=0.01, inner_steps=2), objective)

    def watch(_, inputs, loss):
        learner, batch = inputs
        losses = [
            batch.target.loss(out, batch.query.y).mean()
            for out in learner.answers_along(batch, first=1)
        ]
        # loss = (1 − v) losses[0] + v losses[1]
        weights.append(((loss - losses[0]) / (losses[1] - losses[0])).item())

    objective.register_forward_hook(watch)
    train(
        step,
        tasks,
        plan=Plan(steps=8, tasks_per_step=2, chunk=2, validate_every=0),
        optimiser=Optimiser(),
    )
    assert weights == pytest.approx([1 / 2, 1 / 2, 2 / 3, 2 / 3, 5 / 6, 5 / 6, 1, 1], abs=1e-2)


def test_others_are_sent_to_the_query_loss():
    for learner, batch in (
        (ProtoNet(MLP(6)), toy_episode()),
        (fomaml(MLP(6), n_out=4), toy_episode().support),
    ):
        with pytest.raises(
            ConfigError,
            match=r"multi_step needs a learner with inner steps .* and episodes\. Train others on "
            r"query_loss",
        ):
            MultiStep()(learner, batch)


@pytest.mark.parametrize("options", [{"annealing_steps": 0}, {"epoch": 0}])
def test_no_time_at_all_is_refused(options):
    with pytest.raises(ConfigError, match="must be at least 1, got"):
        MultiStep(**options)
