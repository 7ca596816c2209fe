"""Each of the six parts does what the paper says, and without them MAML++ is MAML."""

import pytest
import torch
import torch.nn.functional as F

from quickstudy.algorithms import fomaml, maml, maml_pp
from quickstudy.core.clock import set_clocks
from quickstudy.core.objective import MetaStep
from quickstudy.core.types import Episode, Examples
from quickstudy.encoders import MLP, Conv4
from quickstudy.encoders.norm import EPS
from quickstudy.objectives import MultiStep, QueryLoss
from quickstudy.objectives.multi_step import step_weights
from quickstudy.testing import toy_episode
from quickstudy.training import Optimiser
from quickstudy.training.optimiser import build_optimiser

RATE, STEPS = 0.2, 3
OFF = {"learned_rates": False, "per_step_norm": False, "per_step_statistics": False}


def images(**options) -> Episode:
    e = toy_episode(shape=(1, 16, 16), **options)
    return Episode(
        Examples(e.support.x.double() / 3, e.support.y),
        Examples(e.query.x.double() / 3, e.query.y),
        e.target,
    )


def encoder(norm="batch"):
    return Conv4(size=16, width=4, norm=norm)


def learner_of(norm="batch", **switches):
    torch.manual_seed(0)
    return maml_pp(encoder(norm), n_out=4, inner_lr=RATE, inner_steps=STEPS, **switches).double()


def plain():
    torch.manual_seed(0)
    return maml(encoder(), n_out=4, inner_lr=RATE, inner_steps=STEPS).double()


def gradients(step, e):
    named = {n: p for n, p in step.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad(step(e), list(named.values())), strict=True))


def test_with_all_six_off_it_is_maml():
    e = images()
    ours, theirs = (
        gradients(MetaStep(learner, QueryLoss()), e) for learner in (learner_of(**OFF), plain())
    )
    assert list(ours) == list(theirs)
    for name, g in theirs.items():
        assert (ours[name] - g).norm() <= 1e-12 * g.norm(), name
    assert Optimiser().schedule == "constant"


# --- multi-step loss


# v_1 = … = v_4 and v_5 at epochs 0, 5, 9 and 10 of 10, J = 5: max(1/5 − e/50, 0.006), min(1/5 +
# 4e/50, 0.976)
@pytest.mark.parametrize(
    ("epoch", "annealing", "early", "last"),
    [
        (0, 10, 0.2, 0.2),
        (5, 10, 0.1, 0.6),
        (9, 10, 0.02, 0.92),
        (10, 10, 0.006, 0.976),
        (0, 15, 0.2, 0.2),
        (3, 15, 0.16, 0.36),
        (14, 15, 1 / 75, 0.2 + 56 / 75),
    ],
)
def test_the_weights_are_those_of_the_published_schedule(epoch, annealing, early, last):
    assert step_weights(5, epoch=epoch, annealing_epochs=annealing) == pytest.approx(
        [early] * 4 + [last], rel=1e-12
    )


def forward(fast, slow, x):
    *convolutions, weight, bias = fast
    for conv, scale, shift in zip(convolutions, slow[::2], slow[1::2], strict=True):
        x = F.max_pool2d(
            F.relu(
                F.batch_norm(
                    F.conv2d(x, conv, padding=1), None, None, scale, shift, training=True, eps=EPS
                )
            ),
            2,
        )
    return F.linear(x.flatten(1), weight, bias)


def slow_loop(fast, slow_at, e, weights, rate_at):
    """Σ_j v_j L_Q(θ_j), the mean over tasks; step j has the normalisation ``slow_at(j)`` and the
    rates ``rate_at(j)``.
    """
    total = 0.0
    for t in range(e.n_tasks):
        now = list(fast)
        for j in range(STEPS):
            loss = F.cross_entropy(forward(now, slow_at(j), e.support.x[t]), e.support.y[t])
            now = [
                p - a * g
                for p, a, g in zip(
                    now, rate_at(j), torch.autograd.grad(loss, now, create_graph=True), strict=True
                )
            ]
            total = (
                total
                + weights[j]
                * F.cross_entropy(forward(now, slow_at(j), e.query.x[t]), e.query.y[t])
                / e.n_tasks
            )
    return total


@pytest.mark.parametrize(
    ("done", "weights"),
    [
        (0, [1 / 3] * 3),
        (50, [1 / 6, 1 / 6, 2 / 3]),
        (59, [1 / 6, 1 / 6, 2 / 3]),
        (100, [0.0, 0.0, 1.0]),
    ],
)
@pytest.mark.parametrize("n_tasks", [1, 3])
def test_everything_at_once_equals_a_slow_loop(n_tasks, done, weights):
    learner, e = learner_of(per_step_statistics=False), images(n_tasks=n_tasks)
    with torch.no_grad():
        for p in (*learner.per_step.parameters(), *learner.loop.parameters()):
            p.add_(0.1 * torch.randn_like(p))
    step = MetaStep(learner, MultiStep(annealing_steps=100, epoch=10))
    set_clocks(step, done)
    named = {n: p for n, p in step.named_parameters() if p.requires_grad}
    fast = [named[f"learner.{n}"] for n in learner.fast_names]
    rates = [named[f"learner.loop.rule.rates.{n.replace('.', '-')}"] for n in learner.fast_names]
    copies = [
        named[f"learner.per_step.encoder-blocks-{i}-norm-{w}"]
        for i in range(4)
        for w in ("weight", "bias")
    ]
    expected = slow_loop(
        fast, lambda j: [c[j] for c in copies], e, weights, lambda j: [r[j] for r in rates]
    )
    loss = step(e)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    ours, theirs = (
        torch.autograd.grad(value, list(named.values()), allow_unused=True)
        for value in (loss, expected)
    )
    for name, a, b in zip(named, ours, theirs, strict=True):
        assert (a - b).norm() <= 1e-7 * b.norm() + 1e-13, name


# --- derivative-order annealing


def test_the_first_outer_steps_are_of_first_order():
    e = images()
    learner = learner_of(**OFF, second_order_from=10)
    step, second = MetaStep(learner, QueryLoss()), gradients(MetaStep(plain(), QueryLoss()), e)
    torch.manual_seed(0)
    first = gradients(
        MetaStep(
            fomaml(encoder(), n_out=4, inner_lr=RATE, inner_steps=STEPS).double(), QueryLoss()
        ),
        e,
    )
    for done, expected in ((0, first), (9, first), (10, second), (500, second)):
        set_clocks(step, done)
        for name, g in gradients(step, e).items():
            torch.testing.assert_close(g, expected[name])
    assert not learner.traits.exact_gradient
    assert any((first[n] - second[n]).norm() > 1e-3 * second[n].norm() for n in first)


# --- normalisation per step


def test_each_step_has_its_own_scale_and_shift():
    learner = learner_of(per_step_statistics=False, learned_rates=False)
    got = gradients(MetaStep(learner, QueryLoss()), images())[
        "learner.per_step.encoder-blocks-0-norm-bias"
    ]
    assert got.shape == (STEPS, 4)
    assert (got.norm(dim=1) > 0).all()
    frozen = [n for n, p in learner.named_parameters() if not p.requires_grad]
    assert frozen == [f"encoder.blocks.{i}.norm.{w}" for i in range(4) for w in ("weight", "bias")]


def test_further_steps_take_the_last_copy():
    learner = learner_of(per_step_statistics=False)
    assert torch.equal(
        learner.per_step.at(7)["encoder.blocks.0.norm.bias"],
        learner.per_step.at(STEPS - 1)["encoder.blocks.0.norm.bias"],
    )


def test_each_step_collects_its_own_statistics():
    learner, e = learner_of("per_task", learned_rates=False, per_step_norm=False), images()
    other = plain()
    torch.testing.assert_close(learner(e), other(e))  # in training they are collected, not used
    means = learner.per_step.get_buffer("encoder-blocks-1-norm-mean")
    assert means.shape == (STEPS, 4)
    assert not any(torch.allclose(means[i], means[j]) for i in range(STEPS) for j in range(i))
    assert torch.equal(learner.encoder.get_buffer("blocks.1.norm.mean"), torch.zeros(4).double())


def test_the_statistics_are_used_in_evaluation_and_make_it_inductive():
    learner, e = learner_of("per_task"), images()
    for _ in range(30):
        learner(e)
    learner.eval()
    assert not learner.traits.transductive
    whole = learner(e)
    alone = learner(Episode(e.support, Examples(e.query.x[:, :1], e.query.y[:, :1]), e.target))
    torch.testing.assert_close(alone, whole[:, :1])
    with torch.no_grad():
        learner.per_step.get_buffer("encoder-blocks-1-norm-mean")[1] += 3.0
    assert not torch.allclose(learner(e), whole)


def test_without_the_switch_there_is_one_set():
    assert learner_of("per_task", per_step_statistics=False, per_step_norm=False).per_step is None


# --- learned rates


def test_each_tensor_has_a_rate_for_each_step_and_learns_it():
    learner = learner_of(per_step_norm=False)
    got = gradients(MetaStep(learner, QueryLoss()), images())
    for name in learner.fast_names:
        rate = got[f"learner.loop.rule.rates.{name.replace('.', '-')}"]
        assert rate.shape == (STEPS,)
        assert (rate != 0).all()
    assert all(p.tolist() == pytest.approx([RATE] * STEPS) for p in learner.loop.parameters())


# --- cosine annealing


def test_the_outer_rate_falls_from_a_thousandth_to_a_hundredth_of_it():
    optimiser, schedule = build_optimiser(
        Optimiser(lr=1e-3, schedule="cosine"), learner_of(), steps=100
    )
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    assert rates[0] == pytest.approx(1e-3)
    assert rates[50] == pytest.approx((1e-3 + 1e-5) / 2)
    assert schedule.get_last_lr()[0] == pytest.approx(1e-5)


def test_an_encoder_without_normalisation_has_nothing_per_step():
    assert maml_pp(MLP(6), n_out=4).per_step is None
