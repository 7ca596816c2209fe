"""The learned optimiser against a slow loop over single numbers, and what it is trained on."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import ProtoNet, learned_optimiser
from quickstudy.core.errors import ConfigError
from quickstudy.core.objective import MetaStep
from quickstudy.core.setting import Setting
from quickstudy.core.types import Episode, Examples
from quickstudy.data import Quadratics
from quickstudy.encoders import MLP, Identity
from quickstudy.inner.recurrent_rules import CoordinateLSTM, preprocessed
from quickstudy.objectives import Trajectory
from quickstudy.testing import toy_episode
from quickstudy.training import Optimiser, Plan, train

SETTING = Setting(0, 10, 10)


def in_double(e):
    return Episode(
        *(
            Examples(s.x.double(), s.y.double() if s.y.is_floating_point() else s.y)
            for s in (e.support, e.query)
        ),
        e.target,
    )


def slow(rule, start, e, steps, window):
    """The mean over steps and tasks of the loss along the way, number by number; behind every
    window all that was is a constant.
    """
    losses = []
    for t in range(e.n_tasks):
        theta = start
        memory = [
            [torch.zeros(1, rule.hidden, dtype=torch.float64)] * 4 for _ in range(theta.numel())
        ]
        for j in range(steps):
            if window and j and j % window == 0:
                theta, memory = theta.detach(), [[m.detach() for m in of_one] for of_one in memory]
            at = theta.detach().requires_grad_()
            (slope,) = torch.autograd.grad(
                F.mse_loss(F.linear(e.support.x[t], at), e.support.y[t]), [at]
            )
            moved = []
            for n, (value, g) in enumerate(zip(theta.reshape(-1), slope.reshape(-1), strict=True)):
                h1, c1, h2, c2 = memory[n]
                h1, c1 = rule.first(preprocessed(g[None]), (h1, c1))
                h2, c2 = rule.second(h1, (h2, c2))
                memory[n] = [h1, c1, h2, c2]
                moved.append(value + rule.scale * rule.out(h2)[0, 0])
            theta = torch.stack(moved).view_as(theta)
            losses.append(F.mse_loss(F.linear(e.query.x[t], theta), e.query.y[t]))
    return torch.stack(losses).mean()


@pytest.mark.parametrize(("n_tasks", "window"), [(1, 0), (2, 0), (2, 2), (2, 5)])
def test_loss_and_outer_gradient_equal_a_slow_loop(n_tasks, window):
    torch.manual_seed(0)
    learner = learned_optimiser(
        Identity(3), n_out=1, inner_steps=5, hidden=4, window=window, head_only=True
    ).double()
    e = in_double(Quadratics(dim=3).tasks("train", Setting(0, 3, 3)).batch(range(n_tasks)))
    expected = slow(learner.loop.rule, torch.zeros(1, 3, dtype=torch.float64), e, 5, window)
    found = Trajectory()(learner, e)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    parameters = list(learner.loop.parameters())
    for a, b in zip(
        torch.autograd.grad(found, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_a_window_changes_the_gradient_and_nothing_else():
    torch.manual_seed(0)
    e, found = in_double(toy_episode()), []
    learner = learned_optimiser(MLP(6, widths=(8,)), n_out=4, inner_steps=4, window=2).double()
    for window in (0, 2):
        learner.loop.window = window
        loss = Trajectory()(learner, e)
        found.append((loss.detach(), *torch.autograd.grad(loss, list(learner.loop.parameters()))))
    assert torch.equal(found[0][0], found[1][0])
    assert all(
        not torch.allclose(a, b, rtol=1e-3, atol=0)
        for a, b in zip(found[0][1:], found[1][1:], strict=True)
    )


def test_it_learns_to_optimise():
    torch.manual_seed(0)
    learner = learned_optimiser(Identity(10), n_out=1, inner_steps=20, head_only=True)
    e = Quadratics().tasks("test", SETTING).batch(range(64))

    def end():
        with torch.no_grad():
            return float(e.target.loss(learner.eval()(e), e.query.y).mean())

    before = end()
    train(
        MetaStep(learner, Trajectory()),
        Quadratics().tasks("train", SETTING),
        plan=Plan(steps=60, tasks_per_step=32, chunk=32, validate_every=0, clip_norm=1.0),
        optimiser=Optimiser(lr=1e-2),
    )
    assert end() < 0.1 * before


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="hidden must be at least 1 and scale above 0, got 0"):
        CoordinateLSTM(hidden=0)
    with pytest.raises(ConfigError, match="trajectory needs a learner with inner steps"):
        Trajectory()(ProtoNet(MLP(6)), toy_episode())
