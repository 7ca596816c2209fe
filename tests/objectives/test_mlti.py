"""Task interpolation against mixtures made by hand."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from quickstudy.algorithms import ProtoNet, anil, imaml, maml
from quickstudy.core.compiled import CompiledGradient
from quickstudy.core.errors import ConfigError, TrainingError
from quickstudy.core.objective import MetaStep
from quickstudy.core.rng import current, drawing
from quickstudy.core.setting import Setting
from quickstudy.core.types import Classes, Episode, Examples, Reals
from quickstudy.data import Glyphs, Sinusoid
from quickstudy.encoders import MLP, Conv4, Identity
from quickstudy.objectives import Mlti, QueryLoss
from quickstudy.objectives import mlti as module
from quickstudy.testing import toy_episode
from quickstudy.training import Optimiser, Plan, train


def in_double(e: Episode) -> Episode:
    return Episode(
        *(
            Examples(s.x.double(), s.y.double() if s.y.is_floating_point() else s.y)
            for s in (e.support, e.query)
        ),
        e.target,
    )


def seeded(objective: Mlti, learner, e: Episode, seed: int = 5) -> Tensor:
    with drawing(torch.Generator().manual_seed(seed)):
        return objective(learner, e)


def drawn(
    n_tasks: int, n_way: int, beta: float, own: float, stages: tuple[int, ...], seed: int = 5
):
    """What the objective draws, in its order."""
    g = torch.Generator().manual_seed(seed)
    ratio, partner = module._beta(beta, n_tasks, g), module._partners(n_tasks, own, g)
    order = torch.rand(n_tasks, n_way, generator=g).argsort(1)
    return ratio, partner, order, stages[int(torch.randint(len(stages), (), generator=g))]


def partners_of(e: Episode, part: Examples, partner: Tensor, order: Tensor) -> Tensor:
    """Row by row: the k-th example of class r meets the k-th of the partner's class order[r]."""
    x = torch.empty_like(part.x)
    for t in range(e.n_tasks):
        j, count = int(partner[t]), [0] * e.target.n
        for n, c in enumerate(part.y[t].tolist()):
            there = [m for m, d in enumerate(part.y[j].tolist()) if d == int(order[t, c])]
            x[t, n] = part.x[j, there[count[c] % len(there)]]
            count[c] += 1
    return x


@pytest.mark.parametrize(
    "make",
    [lambda e: maml(e, n_out=4, inner_lr=0.3, inner_steps=2), lambda e: anil(e, n_out=4), ProtoNet],
)
def test_at_the_input_it_is_the_query_loss_of_the_mixed_episode(make):
    torch.manual_seed(0)
    learner, e = make(MLP(6, widths=(8,))).double(), in_double(toy_episode())
    ratio, partner, order, _ = drawn(3, 4, 2.0, 0.3, (0,))
    w = ratio.view(3, 1, 1)
    mixed = Episode(
        *(
            Examples(w * p.x + (1 - w) * partners_of(e, p, partner, order), p.y)
            for p in (e.support, e.query)
        ),
        e.target,
    )
    torch.testing.assert_close(
        seeded(Mlti(own=0.3, stages=(0,)), learner, e),
        QueryLoss()(learner, mixed),
        rtol=1e-12,
        atol=0,
    )


def test_behind_a_stage_loss_and_gradient_equal_a_slow_loop():
    torch.manual_seed(0)
    learner = maml(MLP(6, widths=(8, 5)), n_out=4, inner_lr=0.3, inner_steps=2).double()
    e = in_double(toy_episode())
    ratio, partner, order, _ = drawn(3, 4, 0.5, 0.0, (1,))
    start = [p.detach().clone().requires_grad_() for p in learner.parameters()]

    def answers(p, x, other, w):
        h, h2 = (F.relu(F.linear(v, p[0], p[1])) for v in (x, other))
        return F.linear(F.relu(F.linear(w * h + (1 - w) * h2, p[2], p[3])), p[4], p[5])

    losses, others = [], [partners_of(e, part, partner, order) for part in (e.support, e.query)]
    for t in range(3):
        p = start
        for _ in range(2):
            loss = F.cross_entropy(
                answers(p, e.support.x[t], others[0][t], ratio[t]), e.support.y[t]
            )
            p = [
                v - 0.3 * g
                for v, g in zip(p, torch.autograd.grad(loss, p, create_graph=True), strict=True)
            ]
        losses.append(
            F.cross_entropy(answers(p, e.query.x[t], others[1][t], ratio[t]), e.query.y[t])
        )
    expected = torch.stack(losses).mean()
    found = seeded(Mlti(beta=0.5, own=0.0, stages=(1,)), learner, e)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for a, b in zip(
        torch.autograd.grad(found, list(learner.parameters())),
        torch.autograd.grad(expected, start),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("stage", [0, 1, 4])
def test_a_mixture_with_nothing_of_the_partner_is_the_task(monkeypatch, stage):
    monkeypatch.setattr(module, "_beta", lambda _b, n, _g: torch.ones(n))
    torch.manual_seed(0)
    learner, e = ProtoNet(Conv4(size=16, width=4, norm="none")), toy_episode(shape=(1, 16, 16))
    torch.testing.assert_close(seeded(Mlti(stages=(stage,)), learner, e), QueryLoss()(learner, e))


def test_shared_labels_are_mixed_too():
    torch.manual_seed(0)
    learner, e = ProtoNet(MLP(6, widths=(8,))).double(), in_double(toy_episode())
    g = torch.Generator().manual_seed(5)
    ratio, partner = module._beta(2.0, 3, g), module._partners(3, 0.0, g)
    torch.randint(1, (), generator=g)
    parts = []
    for part in (e.support, e.query):
        rows = [torch.randperm(part.y.shape[1], generator=g) for _ in range(3)]
        hot = F.one_hot(part.y, 4).double()
        xs, ys = [], []
        for t in range(3):
            w, j = ratio[t], int(partner[t])
            xs.append(w * part.x[t] + (1 - w) * part.x[j, rows[t]])
            ys.append(w * hot[t] + (1 - w) * hot[j, rows[t]])
        parts.append((torch.stack(xs), torch.stack(ys)))
    losses = []
    for t in range(3):
        z, y = (learner.encoder(parts[0][0][t][None])[0], parts[0][1][t])
        means = (y.T @ z) / y.sum(0)[:, None]
        queries = learner.encoder(parts[1][0][t][None])[0]
        logits = -torch.cdist(queries, means, compute_mode="donot_use_mm_for_euclid_dist").square()
        losses.append(-(parts[1][1][t] * logits.log_softmax(1)).sum(1).mean())
    found = seeded(Mlti(own=0.0, stages=(0,), label_sharing=True), learner, e)
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-10, atol=0)


@pytest.mark.parametrize(
    "learner",
    [maml(MLP(1, widths=w), n_out=1, inner_lr=0.01) for w in ((8,), (8, 8))],
    ids=["one", "two"],
)
def test_regressions_share_their_labels(learner):
    e = Sinusoid().tasks("train", Setting(0, 5, 5)).batch(range(3))
    assert seeded(Mlti(label_sharing=True), learner, e).isfinite()
    with pytest.raises(ConfigError, match="set label_sharing=True"):
        seeded(Mlti(), learner, e)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.floats(0, 1), st.integers(0, 999))
def test_partners(n_tasks, own, seed):
    partner = module._partners(n_tasks, own, torch.Generator().manual_seed(seed))
    assert partner.shape == (n_tasks,)
    assert set(partner.tolist()) <= set(range(n_tasks))
    if own == 1:
        assert partner.tolist() == list(range(n_tasks))
    if own == 0 and n_tasks > 1:
        assert not (partner == torch.arange(n_tasks)).any()


def test_uneven_shots():
    e = toy_episode(n_shot=(1, 2, 3, 2))
    assert seeded(Mlti(own=0.0, stages=(0,)), ProtoNet(MLP(6)), e).isfinite()


@pytest.mark.parametrize("workers", [2, 3])
def test_training_does_not_depend_on_the_number_of_workers(workers):
    tasks, ends = Glyphs().tasks("train", Setting(3, 1, 2)), []
    for n in (1, workers):
        torch.manual_seed(0)
        step = MetaStep(ProtoNet(Conv4(size=28, width=4, norm="batch")), Mlti())
        train(
            step,
            tasks,
            plan=Plan(steps=3, tasks_per_step=6, chunk=2, workers=n, validate_every=0),
            optimiser=Optimiser(lr=1e-2),
        )
        ends.append([p.detach().clone() for p in step.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_the_source_of_randomness_belongs_to_the_block():
    assert current() is torch.default_generator
    g = torch.Generator()
    with drawing(g):
        assert current() is g
    assert current() is torch.default_generator


@pytest.mark.parametrize(
    ("objective", "learner", "message"),
    [
        (Mlti(stages=(3,)), ProtoNet(MLP(6)), "has the stages 1 to 2"),
        (Mlti(), ProtoNet(Identity(6)), "no single encoder with stages"),
        (Mlti(), maml(MLP(6), n_out=4, recompute=True), "build their graph once"),
        (Mlti(), ProtoNet(Conv4(size=16, norm="support")), "whose statistics would hold"),
        (Mlti(), imaml(MLP(6), n_out=4), "build their graph once"),
    ],
)
def test_learners_that_cannot_be_mixed_are_refused(objective, learner, message):
    with pytest.raises(ConfigError, match=message):
        seeded(objective, learner, toy_episode())


def test_other_mistakes():
    with pytest.raises(ConfigError, match=r"Set train.chunk to 2 or more"):
        seeded(Mlti(), ProtoNet(MLP(6)), toy_episode(n_tasks=1))
    with pytest.raises(ConfigError, match="beta must be above 0"):
        Mlti(beta=0)
    with pytest.raises(TrainingError, match="cannot draw random numbers, as Mlti does"):
        CompiledGradient(MetaStep(copy.deepcopy(ProtoNet(MLP(6))), Mlti()))
    assert Classes(2).loss(
        torch.zeros(1, 1, 2), torch.tensor([[[0.5, 0.5]]])
    ).item() == pytest.approx(0.6931, abs=1e-4)
    assert Reals(1).width == 1
