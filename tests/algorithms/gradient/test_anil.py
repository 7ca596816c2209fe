import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import anil, maml
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.encoders import MLP, Conv4
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import AbstractRule, FixedRate
from quickstudy.inner.select import everything
from quickstudy.inner.start import LinearHead
from quickstudy.testing import toy_episode

RATE = 0.3


def double(e):
    y = [s.y.double() if s.y.is_floating_point() else s.y for s in (e.support, e.query)]
    return Episode(
        Examples(e.support.x.double() / 3, y[0]), Examples(e.query.x.double() / 3, y[1]), e.target
    )


class HeadOnly(AbstractRule):
    """MAML's rule, but the body stands still."""

    def forward(self, move, memory):
        return {
            n: p - RATE * move.gradients[n] if n.startswith("head.") else p
            for n, p in move.params.items()
        }, memory


@pytest.mark.parametrize("norm", ["batch", "support", "group"])
def test_it_is_maml_with_the_body_frozen_in_the_inner_loop(norm):
    e = double(toy_episode(shape=(1, 16, 16)))
    learners = []
    for build in (
        lambda encoder: anil(encoder, n_out=4, inner_lr=RATE, inner_steps=3),
        lambda encoder: GradientLearner(
            encoder,
            LinearHead(encoder.out_dim, 4),
            loop=InnerLoop(HeadOnly(), steps=3),
            adapts=everything(),
        ),
    ):
        torch.manual_seed(5)
        learners.append(build(Conv4(size=16, width=6, norm=norm)).double())
    outs = [learner(e) for learner in learners]
    torch.testing.assert_close(*outs, rtol=1e-9, atol=1e-9)
    ours, theirs = (
        torch.autograd.grad(e.target.loss(out, e.query.y).mean(), list(learner.parameters()))
        for out, learner in zip(outs, learners, strict=True)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-10 * b.norm()


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("target", [Classes(4), Reals(2)], ids=str)
def test_the_outer_gradient_in_double_precision_equals_a_plain_loops(target, steps, first_order):
    e = double(toy_episode(target=target))
    learner = anil(
        MLP(6, widths=(10, 8)),
        n_out=target.width,
        inner_lr=RATE,
        inner_steps=steps,
        first_order=first_order,
    ).double()
    w1, b1, w2, b2, w, b = learner.parameters()
    loss = target.loss(learner(e), e.query.y).mean()
    ours = torch.autograd.grad(loss, list(learner.parameters()))

    def body(x):
        return F.relu(F.linear(F.relu(F.linear(x, w1, b1)), w2, b2))

    loss_of = F.cross_entropy if isinstance(target, Classes) else F.mse_loss
    total = 0
    for t in range(3):
        head, z = (w, b), body(e.support.x[t])
        for _ in range(steps):
            gradients = torch.autograd.grad(
                loss_of(F.linear(z, *head), e.support.y[t]), head, create_graph=True
            )
            head = [
                p - RATE * (g.detach() if first_order else g)
                for p, g in zip(head, gradients, strict=True)
            ]
        total = total + loss_of(F.linear(body(e.query.x[t]), *head), e.query.y[t]) / 3
    theirs = torch.autograd.grad(total, [w1, b1, w2, b2, w, b])
    assert loss.item() == pytest.approx(total.item(), rel=1e-12)
    for a, expected in zip(ours, theirs, strict=True):
        assert expected.norm() > 0
        assert (a - expected).norm() <= 1e-10 * expected.norm()


def test_features_are_computed_once_per_task_whatever_the_number_of_steps():
    learner, e = anil(MLP(6), n_out=4, inner_steps=7), toy_episode()
    calls = []
    learner.encoder.register_forward_hook(
        lambda module, inputs, output: calls.append(tuple(inputs[0].shape))
    )
    learner(e)
    assert calls == [(3, 8, 6), (3, 12, 6)]


def test_only_the_head_is_adapted():
    learner = anil(Conv4(size=16, width=6, norm="support"), n_out=4)
    assert learner.fast_names == ("head.weight", "head.bias")
    fast, context = learner.adapt(toy_episode(shape=(1, 16, 16)).support, Classes(4))
    assert {n: tuple(p.shape) for n, p in fast.items()} == {
        "head.weight": (3, 4, 6),
        "head.bias": (3, 4),
    }
    assert len(context) == 4


def test_without_steps_it_is_the_network_itself():
    learner, e = anil(MLP(6), n_out=4, inner_steps=0), toy_episode()
    torch.testing.assert_close(learner(e), learner.head(learner.encoder(e.query.x)))


def test_it_is_not_maml():
    outs = []
    for build in (anil, maml):
        torch.manual_seed(5)
        outs.append(build(MLP(6), n_out=4, inner_lr=RATE)(toy_episode()))
    assert not torch.allclose(*outs)


def test_its_published_rate_is_a_rate_of_the_loop():
    learner = anil(MLP(6), n_out=4, inner_lr=0.1, inner_steps=2, first_order=True)
    assert isinstance(learner.loop.rule, FixedRate)
    assert (learner.loop.rule.lr, learner.loop.steps, learner.loop.first_order) == (0.1, 2, True)
    assert not learner.traits.exact_gradient
    assert (learner.traits.any_way, learner.traits.class_equivariant) == (False, False)
    assert learner.traits.targets == {Classes, Reals}
