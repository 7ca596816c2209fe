"""The rules that learn, against explicit loops in double precision."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import alfa, maml, meta_curvature, meta_sgd
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Conv4
from quickstudy.inner.learned_rules import PerLayerPerStep, PerParameter
from quickstudy.inner.rules import StepInputs
from quickstudy.testing import toy_episode

RATE, STEPS = 0.2, 3


def double(e: Episode) -> Episode:
    return Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )


def answers(fast, x):
    *layers, weight, bias = fast
    for w, b in zip(layers[::2], layers[1::2], strict=True):
        x = F.relu(F.linear(x, w, b))
    return F.linear(x, weight, bias)


def slow(fast, e, update):
    """The mean query loss of a loop over tasks; ``update(j, params, gradients)`` gives the
    parameters after a step.
    """
    total = 0.0
    for t in range(e.n_tasks):
        now = list(fast)
        for j in range(STEPS):
            loss = F.cross_entropy(answers(now, e.support.x[t]), e.support.y[t])
            now = update(j, now, torch.autograd.grad(loss, now, create_graph=True))
        total = total + F.cross_entropy(answers(now, e.query.x[t]), e.query.y[t]) / e.n_tasks
    return total


def agrees(learner, e, update):
    named = dict(learner.named_parameters())
    loss = e.target.loss(learner(e), e.query.y).mean()
    expected = slow([named[n] for n in learner.fast_names], e, update)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    ours, theirs = (torch.autograd.grad(value, list(named.values())) for value in (loss, expected))
    for name, a, b in zip(named, ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-9 * b.norm() + 1e-15, name


def own(name):
    return name.replace(".", "-")


@pytest.mark.parametrize("n_tasks", [1, 3])
class TestOuterGradients:
    def test_meta_sgd(self, n_tasks):
        learner = meta_sgd(MLP(6, widths=(7, 5)), n_out=4, inner_steps=STEPS).double()
        rates = [learner.loop.rule.rates[own(n)] for n in learner.fast_names]
        e = double(toy_episode(n_tasks=n_tasks))
        agrees(
            learner,
            e,
            lambda _, now, gs: [p - a * g for p, a, g in zip(now, rates, gs, strict=True)],
        )

    def test_lslr(self, n_tasks):
        learner = maml(MLP(6, widths=(7, 5)), n_out=4, inner_steps=STEPS)
        shapes = {n: tuple(dict(learner.named_parameters())[n].shape) for n in learner.fast_names}
        learner.loop.rule = PerLayerPerStep(shapes, steps=STEPS, lr=RATE)
        learner = learner.double()
        with torch.no_grad():
            for p in learner.loop.parameters():
                p.mul_(torch.rand_like(p) + 0.5)
        rates = [learner.loop.rule.rates[own(n)] for n in learner.fast_names]
        e = double(toy_episode(n_tasks=n_tasks))
        agrees(
            learner,
            e,
            lambda j, now, gs: [p - a[j] * g for p, a, g in zip(now, rates, gs, strict=True)],
        )

    @pytest.mark.parametrize("constant", [True, False])
    def test_alfa(self, n_tasks, constant):
        learner = alfa(
            MLP(6, widths=(7, 5)),
            n_out=4,
            inner_lr=RATE,
            inner_steps=STEPS,
            weight_decay=0.1,
            constant_gradients=constant,
        ).double()
        assert learner.traits.exact_gradient is not constant
        rule, n = learner.loop.rule, len(learner.fast_names)

        def update(j, now, gs):
            seen = [g.detach() for g in gs] if constant else gs
            read = rule.generator(torch.stack([v.mean() for v in (*now, *seen)]))
            return [
                (1 - read[n + k] * rule.decays[j, k]) * p - read[k] * rule.rates[j, k] * g
                for k, (p, g) in enumerate(zip(now, gs, strict=True))
            ]

        agrees(learner, double(toy_episode(n_tasks=n_tasks)), update)

    def test_meta_curvature(self, n_tasks):
        learner = meta_curvature(
            MLP(6, widths=(7, 5)), n_out=4, inner_lr=RATE, inner_steps=STEPS
        ).double()
        with torch.no_grad():
            for p in learner.loop.parameters():
                p.add_(0.1 * torch.randn_like(p))
        m = learner.loop.rule.matrices

        def update(_, now, gs):
            bent = [
                m[f"{own(n)}-0"] @ g @ m[f"{own(n)}-1"].t() if g.ndim == 2 else m[f"{own(n)}-0"] @ g
                for n, g in zip(learner.fast_names, gs, strict=True)
            ]
            return [p - RATE * b for p, b in zip(now, bent, strict=True)]

        agrees(learner, double(toy_episode(n_tasks=n_tasks)), update)


def test_curvature_of_a_convolution_bends_its_three_axes():
    learner = meta_curvature(Conv4(size=16, width=3, norm="batch"), n_out=4, inner_lr=1.0).double()
    rule, name = learner.loop.rule, "encoder.blocks.1.conv.weight"
    g, p = torch.randn(2, 3, 3, 3, 3).double(), torch.zeros(2, 3, 3, 3, 3).double()
    matrices = [torch.randn(n, n).double() for n in (3, 3, 9)]
    with torch.no_grad():
        for axis, matrix in enumerate(matrices):
            rule.matrices[f"{own(name)}-{axis}"].copy_(matrix)
    after, _ = rule(StepInputs(0, {name: p}, {name: g}, torch.zeros(2)), ())
    expected = -torch.einsum("ao,bi,cf,toif->tabc", *matrices, g.flatten(-2)).view_as(g)
    torch.testing.assert_close(after[name], expected)


def test_curvature_begins_as_maml():
    learners = []
    for builder in (meta_curvature, maml):
        torch.manual_seed(0)
        learners.append(builder(MLP(6), n_out=4, inner_lr=RATE))
    learners[1].load_state_dict(
        {n: p for n, p in learners[0].state_dict().items() if not n.startswith("loop.")}
    )
    torch.testing.assert_close(*(learner(toy_episode()) for learner in learners))


def test_further_steps_take_the_last_rates():
    rule = PerLayerPerStep({"a": (2,)}, steps=2, lr=0.5)
    with torch.no_grad():
        rule.rates["a"].copy_(torch.tensor([1.0, 10.0]))
    ones = {"a": torch.ones(2)}
    moved = [
        rule(StepInputs(j, {"a": torch.zeros(2)}, ones, torch.zeros(1)), ())[0]["a"][0].item()
        for j in (0, 1, 5)
    ]
    assert moved == [-1.0, -10.0, -10.0]


def test_rates_begin_between_the_two_given():
    rates = torch.cat(
        [p.reshape(-1) for p in PerParameter({"a": (50, 50)}, lr=(0.1, 0.2)).parameters()]
    )
    assert rates.min() >= 0.1
    assert rates.max() <= 0.2
    assert rates.std() > 0.02


@pytest.mark.parametrize("lr", [(0.0, 0.1), (0.2, 0.1)])
def test_a_range_of_rates_that_is_none_is_refused(lr):
    with pytest.raises(ConfigError, match="0 < lowest <= highest"):
        PerParameter({"a": (1,)}, lr=lr)


def test_alfa_begins_near_gradient_descent():
    learner, e = alfa(MLP(6), n_out=4, inner_lr=0.01, inner_steps=1), toy_episode()
    plain = maml(MLP(6), n_out=4, inner_lr=0.01, inner_steps=1)
    plain.load_state_dict(
        {n: p for n, p in learner.state_dict().items() if not n.startswith("loop.")}
    )
    none = maml(MLP(6), n_out=4, inner_lr=0.01, inner_steps=0)
    none.load_state_dict(plain.state_dict())
    assert (learner(e) - plain(e)).norm() < 0.7 * (none(e) - plain(e)).norm()
    assert e.target == Classes(4)
