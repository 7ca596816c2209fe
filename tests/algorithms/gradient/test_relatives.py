"""MAML's relatives that differ from it in one part: Unicorn-MAML, Proto-MAML, BOIL, NIL,
Reptile.
"""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import NIL, ProtoNet, boil, maml, proto_maml, reptile, unicorn_maml
from quickstudy.core.errors import ConfigError, ContractError
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Classes, Episode, Examples
from quickstudy.encoders import MLP, Identity
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import Selection
from quickstudy.inner.start import RepeatedHead
from quickstudy.objectives import Reptile
from quickstudy.testing import Subject, checks, toy_episode, toy_learner
from quickstudy.training import Optimiser
from quickstudy.training.optimiser import build_optimiser

RATE, STEPS = 0.2, 3


def double(e: Episode) -> Episode:
    return Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )


def answers(fast, x):
    w, b, head, bias = fast
    return F.linear(F.relu(F.linear(x, w, b)), head, bias)


def slow(body, head_of, e, *, first_order, steps=STEPS):
    """The mean query loss: plain lists, a task at a time. ``head_of(t)`` gives weight and bias to
    start from.
    """
    total = 0.0
    for t in range(e.n_tasks):
        # copies: the head's start may depend on the body, the inner gradient must not
        now = [
            *(p.view_as(p) for p in body),
            *head_of(t),
        ]
        for _ in range(steps):
            at = [p.detach().requires_grad_() for p in now] if first_order else now
            loss = F.cross_entropy(answers(at, e.support.x[t]), e.support.y[t])
            slopes = torch.autograd.grad(loss, at, create_graph=not first_order)
            now = [p - RATE * g for p, g in zip(now, slopes, strict=True)]
        total = total + F.cross_entropy(answers(now, e.query.x[t]), e.query.y[t]) / e.n_tasks
    return total


def agrees(learner, e, expected):
    named = dict(learner.named_parameters())
    loss = e.target.loss(learner(e), e.query.y).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    ours, theirs = (
        torch.autograd.grad(value, list(named.values()), retain_graph=True)
        for value in (loss, expected)
    )
    for name, a, b in zip(named, ours, theirs, strict=True):
        assert b.norm() > 0, name
        assert (a - b).norm() <= 1e-9 * b.norm(), name


# --- Unicorn-MAML


@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_unicorn_equals_a_loop_with_repeated_vectors(n_tasks, first_order):
    learner = unicorn_maml(
        MLP(6, widths=(5,)), inner_lr=RATE, inner_steps=STEPS, first_order=first_order
    ).double()
    e, body = double(toy_episode(n_tasks=n_tasks)), list(learner.parameters())
    vector = torch.randn(5).double().requires_grad_()
    number = torch.randn(()).double().requires_grad_()
    expected = slow(
        body,
        lambda _: (torch.stack([vector] * 4), torch.stack([number] * 4)),
        e,
        first_order=first_order,
    )
    agrees(learner, e, expected)  # whichever vector it is: it has no gradient either
    for g in torch.autograd.grad(expected, (vector, number)):
        assert g.norm() < 1e-14


def test_the_first_step_of_unicorn_moves_the_head_alone():
    learner, e = unicorn_maml(MLP(6, widths=(5,)), inner_steps=1).double(), double(toy_episode())
    fast, _ = learner.adapt(e.support, e.target)
    before = dict(learner.named_parameters())
    for name, p in fast.items():
        if name.startswith("encoder."):
            torch.testing.assert_close(p, before[name].expand_as(p))
    assert fast["head.weight"].abs().max() > 1e-3


def test_maml_knows_one_class_position_from_another_and_unicorn_and_nil_do_not():
    learner = toy_learner("maml")
    with pytest.raises(ContractError, match="answers with the classes renamed"):
        checks.check_classes_are_equivariant(Subject(learner))
    for name in ("unicorn_maml", "nil", "proto_maml"):
        assert toy_learner(name).traits.class_equivariant
        checks.check_classes_are_equivariant(Subject(toy_learner(name)))


def test_a_head_that_is_made_for_every_task_must_be_adapted():
    encoder = MLP(6)
    with pytest.raises(ConfigError, match=r"must be adapted: include 'head\.\*'"):
        GradientLearner(
            encoder,
            RepeatedHead(encoder.out_dim),
            loop=InnerLoop(FixedRate(0.1), steps=1),
            adapts=Selection(("encoder.*",)),
        )


# --- Proto-MAML


@pytest.mark.parametrize("first_order", [True, False])
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_proto_maml_equals_a_loop_from_prototypes(n_tasks, first_order):
    learner = proto_maml(
        MLP(6, widths=(5,)), inner_lr=RATE, inner_steps=STEPS, first_order=first_order
    ).double()
    e, body = double(toy_episode(n_tasks=n_tasks)), list(learner.parameters())

    def prototypes(t):
        z = F.relu(F.linear(e.support.x[t], *body))
        p = torch.stack([z[e.support.y[t] == c].mean(0) for c in range(4)])
        return 2 * p, -p.square().sum(1)

    agrees(learner, e, slow(body, prototypes, e, first_order=first_order))


def test_proto_maml_without_steps_is_protonet():
    learner, e = proto_maml(MLP(6), inner_steps=0).double(), double(toy_episode())
    proto = ProtoNet(learner.encoder)
    ours, theirs = learner(e), proto(e)
    torch.testing.assert_close(ours.log_softmax(-1), theirs.log_softmax(-1))


# --- BOIL


def test_boil_keeps_its_head():
    learner = boil(MLP(6, widths=(5,)), n_out=4, inner_lr=RATE, inner_steps=STEPS).double()
    e = double(toy_episode())
    named = dict(learner.named_parameters())
    fast, _ = learner.adapt(e.support, e.target)
    assert list(fast) == ["encoder.layers.0.weight", "encoder.layers.0.bias"]
    total = 0.0
    for t in range(e.n_tasks):
        now = [named[n] for n in fast]
        for _ in range(STEPS):
            loss = F.cross_entropy(
                answers([*now, learner.head.weight, learner.head.bias], e.support.x[t]),
                e.support.y[t],
            )
            now = [
                p - RATE * g
                for p, g in zip(now, torch.autograd.grad(loss, now, create_graph=True), strict=True)
            ]
        total = (
            total
            + F.cross_entropy(
                answers([*now, learner.head.weight, learner.head.bias], e.query.x[t]), e.query.y[t]
            )
            / e.n_tasks
        )
    agrees(learner, e, total)


# --- NIL


def test_nil_is_the_mean_cosine_also_with_unequal_shots():
    e = double(toy_episode(n_way=3, n_shot=(1, 2, 3), target=Classes(3)))
    out = NIL(Identity(6), scale=2.0)(e)
    for t in range(e.n_tasks):
        for q, x in enumerate(e.query.x[t]):
            for c in range(3):
                of_class = e.support.x[t][e.support.y[t] == c]
                assert out[t, q, c].item() == pytest.approx(
                    2 * F.cosine_similarity(x[None], of_class).mean().item(), rel=1e-9
                )


def test_a_scale_that_turns_the_scores_round_is_refused():
    with pytest.raises(ConfigError, match=r"above 0, got -1\.0"):
        NIL(Identity(6), scale=-1.0)


# --- Reptile


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_the_pull_moves_the_weights_to_the_mean_of_where_learning_leads(n_tasks):
    learner = (
        reptile(MLP(6, widths=(5,)), n_out=4, inner_lr=0.01, inner_steps=STEPS).double().train()
    )
    e = double(toy_episode(n_tasks=n_tasks))
    before = {n: p.detach().clone() for n, p in learner.named_parameters()}
    ends = []
    for t in range(n_tasks):
        x, y = (torch.cat((getattr(e.support, k)[t], getattr(e.query, k)[t])) for k in "xy")
        now = [p.clone().requires_grad_() for p in before.values()]
        adam = torch.optim.Adam(now, lr=0.01, betas=(0.0, 0.999), eps=1e-12)
        for _ in range(STEPS):
            adam.zero_grad()
            F.cross_entropy(answers(now, x), y).backward()
            adam.step()
        ends.append([p.detach() for p in now])
    mean = [torch.stack(of_all).mean(0) for of_all in zip(*ends, strict=True)]
    step = MetaStep(learner, Reptile())
    optimiser, _ = build_optimiser(Optimiser(name="sgd", lr=0.5, momentum=0.0), step, steps=10)
    step(e).backward()
    optimiser.step()
    for (name, p), end in zip(learner.named_parameters(), mean, strict=True):
        torch.testing.assert_close(
            p.detach(), before[name] + 0.5 * (end - before[name]), rtol=1e-4, atol=1e-6
        )


def test_reptile_takes_more_steps_in_evaluation():
    learner = reptile(MLP(6), n_out=4, inner_steps=2, test_steps=9)
    assert (learner.train().loop.steps, learner.eval().loop.steps) == (2, 9)
    assert maml(MLP(6), n_out=4, inner_steps=2).eval().loop.steps == 2


def test_the_pull_needs_inner_steps():
    with pytest.raises(ConfigError, match="pull needs a learner with inner steps"):
        Reptile()(ProtoNet(MLP(6)), toy_episode())
