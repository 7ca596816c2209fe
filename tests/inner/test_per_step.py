"""Copies per inner step: whose they are, who reads which, and what of them is learned."""

import copy

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import maml_pp
from quickstudy.core.errors import ConfigError
from quickstudy.core.types import Episode, Examples
from quickstudy.encoders import Conv4
from quickstudy.encoders.norm import EPS, MOMENTUM
from quickstudy.inner.learner import GradientLearner
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.per_step import PerStep
from quickstudy.inner.rules import FixedRate
from quickstudy.inner.select import Selection, everything, head_only
from quickstudy.inner.start import LinearHead
from quickstudy.kernels import backend
from quickstudy.objectives import MultiStep
from quickstudy.testing import Subject, check_learner, toy_episode, yield_checks
from quickstudy.testing.checks import check_learns_a_separable_toy

STEPS, RATE = 3, 0.1
NORMS = Selection(("*.norm.*",))


def encoder_of(norm="per_task"):
    torch.manual_seed(0)
    encoder = Conv4(size=16, width=4, norm=norm).double()
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if ".norm." in name:
                p.normal_()
    return encoder


def copies_of(encoder, of=NORMS, steps=STEPS, fast=()):
    return PerStep(encoder, of, steps=steps, fast=fast)


def images(n_tasks=2):
    e = toy_episode(n_tasks=n_tasks, shape=(1, 16, 16))
    return Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )


def learner_of(norm="per_task", **options):
    learner = maml_pp(
        encoder_of(norm), n_out=4, inner_lr=RATE, inner_steps=STEPS, **options
    ).double()
    with torch.no_grad():
        for name, p in learner.named_parameters():
            if name.startswith("per_step."):
                p.add_(0.3 * torch.randn_like(p))  # no copy like another
    return learner


# --- the copies themselves


def test_each_copy_begins_as_the_encoders_own():
    encoder = encoder_of()
    own = {f"encoder.{n}": t.clone() for n, t in encoder.state_dict().items() if ".norm." in n}
    copies = copies_of(encoder)
    for step in range(STEPS):
        at = copies.at(step)
        assert set(at) == set(own)
        assert all(torch.equal(at[n], own[n]) for n in own)


def test_parameters_stay_parameters_and_statistics_stay_buffers():
    copies = copies_of(encoder_of())
    ends = {"parameters": ("weight", "bias"), "buffers": ("mean", "var")}
    for kind, names in ends.items():
        held = dict(copies.named_parameters() if kind == "parameters" else copies.named_buffers())
        assert set(held) == {f"encoder-blocks-{i}-norm-{n}" for i in range(4) for n in names}
        assert all(t.shape == (STEPS, 4) for t in held.values())


def test_the_originals_of_parameters_are_frozen_and_no_others():
    encoder = encoder_of()
    copies_of(encoder, Selection(("*.1.norm.bias",)))
    assert [n for n, p in encoder.named_parameters() if not p.requires_grad] == [
        "blocks.1.norm.bias"
    ]


@pytest.mark.parametrize(("step", "copy_"), [(-1, 0), (0, 0), (1, 1), (2, 2), (3, 2), (99, 2)])
def test_a_step_that_has_no_copy_takes_the_nearest(step, copy_):
    copies = copies_of(encoder_of())
    with torch.no_grad():
        for p in copies.parameters():
            p.copy_(torch.arange(3.0)[:, None].expand_as(p))
    assert (copies.at(step)["encoder.blocks.2.norm.weight"] == copy_).all()


def test_without_inner_steps_there_is_one_copy():
    assert copies_of(encoder_of(), steps=0).at(0)["encoder.blocks.0.norm.bias"].shape == (4,)
    assert len(next(copies_of(encoder_of(), steps=0).parameters())) == 1


def test_what_the_encoder_does_not_have_has_no_copies():
    copies = copies_of(encoder_of("batch"), Selection(("*.norm.mean", "*.norm.var")))
    assert copies.at(0) == {}
    assert not list(copies.parameters())


def test_counters_have_no_copies():
    assert not any("num_batches" in n for n in copies_of(encoder_of("running")).names)


# --- in a learner


def test_what_is_adapted_cannot_have_copies():
    encoder = encoder_of()
    with pytest.raises(
        ConfigError,
        match=r"blocks\.0\.conv\.weight cannot be adapted .* and have a copy .* Choose one",
    ):
        copies_of(
            encoder,
            Selection(("*.0.conv.*",)),
            fast=everything().of([f"encoder.{n}" for n, _ in encoder.named_parameters()]),
        )


def test_an_inner_loop_of_the_head_alone_has_no_steps_of_the_encoder():
    encoder, loop = encoder_of(), InnerLoop(FixedRate(RATE), steps=STEPS)
    with pytest.raises(ConfigError, match="only the head is adapted"):
        GradientLearner(
            encoder, LinearHead(encoder.out_dim, 4), loop=loop, adapts=head_only(), per_step=NORMS
        )


def asked(learner, e, monkeypatch):
    """The steps whose copies the passes through the encoder took."""
    steps, at = [], learner.per_step.at
    monkeypatch.setattr(learner.per_step, "at", lambda step: (steps.append(step), at(step))[1])
    with torch.no_grad():
        learner(e)
    return steps


@pytest.mark.parametrize("n_tasks", [1, 2])
def test_every_step_runs_with_its_own_copy_and_the_answers_with_the_last(n_tasks, monkeypatch):
    assert asked(learner_of("batch"), images(n_tasks), monkeypatch) == [0, 1, 2, 2]


def test_support_statistics_are_read_with_the_last_copy_too(monkeypatch):
    assert asked(learner_of("support"), images(), monkeypatch) == [0, 1, 2, 2, 2]


def test_the_answers_along_the_way_are_those_of_the_step_before():
    learner, e = learner_of("batch"), images()
    along = learner.answers_along(e)
    assert len(along) == STEPS + 1
    torch.testing.assert_close(along[-1], learner(e))
    torch.testing.assert_close(
        torch.stack(learner.answers_along(e, first=2)), torch.stack(along[2:])
    )
    at = learner.per_step.at(0)  # before any step, with the first copy
    with_first = copy.deepcopy(learner.encoder)
    with_first.load_state_dict({n.removeprefix("encoder."): t for n, t in at.items()}, strict=False)
    torch.testing.assert_close(along[0], learner.head(with_first(e.query.x)))


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_the_outer_gradient_equals_a_slow_loop(n_tasks):
    learner, e = learner_of("batch", learned_rates=False), images(n_tasks)
    named = {n: p for n, p in learner.named_parameters() if p.requires_grad}
    copies = {
        k: [named[f"per_step.encoder-blocks-{i}-norm-{k}"] for i in range(4)]
        for k in ("weight", "bias")
    }

    def answers(fast, x, j):
        for i in range(4):
            x = F.conv2d(x, fast[i], padding=1)
            x = (x - x.mean((0, 2, 3), keepdim=True)) / (
                x.var((0, 2, 3), correction=0, keepdim=True) + EPS
            ).sqrt()
            x = F.max_pool2d(
                F.relu(
                    x * copies["weight"][i][j].view(-1, 1, 1) + copies["bias"][i][j].view(-1, 1, 1)
                ),
                2,
            )
        return F.linear(x.flatten(1), fast[4], fast[5])

    expected = 0.0
    for t in range(n_tasks):
        fast = [named[n] for n in learner.fast_names]
        for j in range(STEPS):
            loss = F.cross_entropy(answers(fast, e.support.x[t], j), e.support.y[t])
            fast = [
                p - RATE * g
                for p, g in zip(
                    fast, torch.autograd.grad(loss, fast, create_graph=True), strict=True
                )
            ]
        expected = (
            expected
            + F.cross_entropy(answers(fast, e.query.x[t], STEPS - 1), e.query.y[t]) / n_tasks
        )
    loss = e.target.loss(learner(e), e.query.y).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    ours, theirs = (
        torch.autograd.grad(value, list(named.values()), retain_graph=True)
        for value in (loss, expected)
    )
    for name, a, b in zip(named, ours, theirs, strict=True):
        assert b.norm() > 0, name
        assert (a - b).norm() <= 1e-9 * b.norm(), name


# --- statistics per step


def moved(before, x, weight):
    """The averages after one more batch of tasks, one after the other, of the first block's maps;
    weights may differ from task to task.
    """
    for images, w in zip(x, weight, strict=True):
        z = F.conv2d(images, w, padding=1)
        now = z.mean((0, 2, 3)), z.var((0, 2, 3))
        before = [torch.lerp(b, s, MOMENTUM) for b, s in zip(before, now, strict=True)]
    return before


@pytest.mark.parametrize("objective", ["last", "every"])
def test_each_copy_sees_the_support_before_its_step_and_the_queries_after_it(objective):
    learner, e = learner_of(learned_rates=False), images()
    name = "encoder.blocks.0.conv.weight"
    with torch.no_grad():
        along = copy.deepcopy(learner)
        task = along._task(e.support, e.target, None)
        weights = [p[name] for p in along.loop.path(task.start, task.loss_at)]
        MultiStep(annealing_steps=10)(learner, e) if objective == "every" else learner(e)
    for j in range(STEPS):
        now = moved([torch.zeros(4).double(), torch.ones(4).double()], e.support.x, weights[j])
        if objective == "every" or j == STEPS - 1:
            now = moved(now, e.query.x, weights[j + 1])
        for end, expected in zip(("mean", "var"), now, strict=True):
            torch.testing.assert_close(
                learner.per_step.get_buffer(f"encoder-blocks-0-norm-{end}")[j],
                expected,
                rtol=1e-9,
                atol=1e-9,
            )


def outcome(learner, e):
    """Answers, outer gradient, and the statistics afterwards."""
    learner = copy.deepcopy(learner)
    out = learner(e)
    found = torch.autograd.grad(
        e.target.loss(out, e.query.y).mean(), [p for p in learner.parameters() if p.requires_grad]
    )
    return [out, *found, *learner.per_step.buffers()]


@pytest.mark.parametrize("form", ["torch", "numba"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_the_fused_forms_give_the_same_numbers(n_tasks, training, form):
    learner, e = learner_of(), images(n_tasks)
    with torch.no_grad():
        for name, b in learner.per_step.named_buffers():
            b.copy_(torch.rand_like(b) + 0.5 if name.endswith("var") else torch.randn_like(b))
    learner.train(training)
    with backend("plain"):
        wanted = outcome(learner, e)
    with backend(form):
        found = outcome(learner, e)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("n_tasks", [1, 3])
def test_in_training_the_gradient_is_that_of_batch_statistics(n_tasks):
    e, learners = images(n_tasks), [learner_of("per_task"), learner_of("batch")]
    learners[1].load_state_dict(learners[0].state_dict(), strict=False)
    found, wanted = (
        torch.autograd.grad(
            e.target.loss(learner(e), e.query.y).mean(),
            [p for p in learner.parameters() if p.requires_grad],
        )
        for learner in learners
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_in_evaluation_the_averages_stand_still():
    learner, e = learner_of().eval(), images()
    before = copy.deepcopy(learner.state_dict())
    learner(e)
    assert all(torch.equal(t, before[n]) for n, t in learner.state_dict().items())


def on_images(norm):
    return maml_pp(Conv4(size=16, width=8, norm=norm), n_out=4, inner_lr=0.05, inner_steps=2)


@pytest.mark.parametrize("norm", ["batch", "support"])
def test_on_images_it_keeps_the_contract(norm):
    check_learner(on_images(norm), shape=(1, 16, 16), n_tasks=(2,), builder=maml_pp)


def test_with_averages_over_tasks_it_keeps_the_contract_but_does_not_learn_the_toy():
    # The toy's tasks have levels of their own, which averages over the last tasks hide: as these
    # move at every task, they are those of about ten tasks.
    learner = on_images("per_task")
    for check in yield_checks(learner.traits):
        if check is not check_learns_a_separable_toy:
            check(Subject(learner, shape=(1, 16, 16), n_tasks=2, builder=maml_pp))
