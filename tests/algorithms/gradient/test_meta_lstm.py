import math

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import meta_lstm
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP
from quickstudy.inner.recurrent_rules import GatedUpdate, preprocessed
from quickstudy.testing import toy_episode


def read(x, p=10):
    return (
        [math.log(abs(x)) / p, math.copysign(1, x)]
        if abs(x) >= math.exp(-p)
        else [-1.0, math.exp(p) * x]
    )


@pytest.mark.parametrize("x", [3.0, -0.02, 1e-5, -1e-6, 0.0])
def test_preprocessing_by_hand(x):
    expected = read(x)
    torch.testing.assert_close(
        preprocessed(torch.tensor([x], dtype=torch.float64))[0],
        torch.tensor(expected, dtype=torch.float64),
    )


def answers(fast, x):
    w, b, head, bias = fast
    return F.linear(F.relu(F.linear(x, w, b)), head, bias)


def slow(rule, fast, e, steps):
    """The mean query loss: task by task, number by number, from the equations."""
    total = 0.0
    for t in range(e.n_tasks):
        now = list(fast)
        memory = [
            [
                (
                    torch.zeros(1, rule.hidden),
                    torch.zeros(1, rule.hidden),
                    torch.zeros(1),
                    torch.zeros(1),
                )
            ]
            * p.numel()
            for p in now
        ]
        memory = [
            [tuple(m.double() for m in of_one) for of_one in of_tensor] for of_tensor in memory
        ]
        for _ in range(steps):
            at = [p.detach().requires_grad_() for p in now]
            loss = F.cross_entropy(answers(at, e.support.x[t]), e.support.y[t])
            after = []
            for k, (p, g) in enumerate(zip(now, torch.autograd.grad(loss, at), strict=True)):
                moved = []
                for n, (value, slope) in enumerate(zip(p.reshape(-1), g.reshape(-1), strict=True)):
                    h, c, f, i = memory[k][n]
                    seen = torch.tensor(
                        [[*read(slope.item()), *read(loss.item())]], dtype=torch.float64
                    )
                    h, c = rule.cell(seen, (h, c))
                    f = rule.forget(torch.cat((h[0], value[None], f)))
                    i = rule.input(torch.cat((h[0], value[None], i)))
                    memory[k][n] = (h, c, f, i)
                    moved.append(f.sigmoid() * value - i.sigmoid() * slope)
                after.append(torch.cat(moved).view(p.shape))
            now = after
        total = total + F.cross_entropy(answers(now, e.query.x[t]), e.query.y[t]) / e.n_tasks
    return total


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_loss_and_outer_gradient_equal_a_slow_loop(n_tasks):
    torch.manual_seed(0)
    e = toy_episode(n_tasks=n_tasks, n_way=3, n_shot=1, target=Classes(3))
    e = Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )
    learner = meta_lstm(MLP(6, widths=(3,)), n_out=3, inner_steps=3, hidden=4).double()
    with torch.no_grad():  # gates that are open enough for a mistake to show
        learner.loop.rule.forget.weight.normal_()
        learner.loop.rule.input.weight.normal_()
        learner.loop.rule.input.bias.fill_(-1.0)
    named = dict(learner.named_parameters())
    loss = e.target.loss(learner(e), e.query.y).mean()
    expected = slow(learner.loop.rule, [named[n] for n in learner.fast_names], e, 3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    ours, theirs = (torch.autograd.grad(value, list(named.values())) for value in (loss, expected))
    for name, a, b in zip(named, ours, theirs, strict=True):
        assert b.norm() > 0
        assert (a - b).norm() <= 1e-8 * b.norm(), name


def test_it_begins_by_keeping_the_weights():
    rule = GatedUpdate()
    assert 4 <= rule.forget.bias.item() <= 6
    assert -5 <= rule.input.bias.item() <= -4


def test_an_lstm_without_units_is_refused():
    with pytest.raises(ConfigError, match="hidden must be at least 1, got 0"):
        GatedUpdate(hidden=0)
