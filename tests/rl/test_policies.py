"""Policies that adapt."""

import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.inner.loop import InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.rl import (
    PPO,
    TRPO,
    Bandits,
    Navigation2D,
    PolicyLearner,
    TabularWorlds,
    collect,
    maml_policy,
    play,
    policy_for,
    returns_along,
    train_policy,
)
from quickstudy.rl.outer import conjugate_gradient
from quickstudy.rl.surrogate import acting, divergence, importance, reinforce

WORLDS = [
    Navigation2D(horizon=6),
    Bandits(n_arms=3),
    TabularWorlds(n_states=4, n_actions=3, horizon=5),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: type(w).__name__)
def test_each_task_is_adapted_to_as_if_it_were_alone(world) -> None:
    torch.manual_seed(0)
    learner = maml_policy(world, widths=(8,), inner_steps=2, n_episodes=3)
    happened = learner.adapt(world, world.tasks(3), seeded())
    assert len(happened.path) == len(happened.evidence) == 3
    assert happened.returns.shape == (3, 3)
    params = {n: p.detach() for n, p in learner.policy.named_parameters()}
    for t in range(3):
        now = params
        for e in happened.evidence[:2]:
            now = {n: p.detach().requires_grad_() for n, p in now.items()}
            alone = type(e)(
                type(e.trajectories)(*(v[t : t + 1] for v in vars(e.trajectories).values())),
                e.advantage[t : t + 1],
                e.log_prob[t : t + 1],
            )
            loss = reinforce(learner.policy, {n: p[None] for n, p in now.items()}, alone).sum()
            grads = torch.autograd.grad(loss, list(now.values()))
            now = {n: p - 0.1 * g for (n, p), g in zip(now.items(), grads, strict=True)}
        for n, p in now.items():
            torch.testing.assert_close(happened.path[-1][n][t], p.detach(), rtol=1e-4, atol=1e-5)


def test_replaying_the_episodes_ends_where_the_adaptation_did_and_has_the_second_order() -> None:
    torch.manual_seed(0)
    world = WORLDS[0]
    learner = maml_policy(world, widths=(8,), n_episodes=3)
    happened = learner.adapt(world, world.tasks(2), seeded())
    end = learner.replay(happened.evidence)
    for n, p in end.items():
        torch.testing.assert_close(p.detach(), happened.path[-1][n], rtol=1e-4, atol=1e-6)
    weights = list(learner.policy.parameters())
    full = torch.autograd.grad(
        importance(learner.policy, end, happened.evidence[-1]).mean(), weights
    )
    cheap = PolicyLearner(
        learner.policy, InnerLoop(FixedRate(0.1), steps=1, first_order=True), n_episodes=3
    )
    first = torch.autograd.grad(
        importance(learner.policy, cheap.replay(happened.evidence), happened.evidence[-1]).mean(),
        weights,
    )
    assert any(
        not torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(full, first, strict=True)
    )

    # The outer gradient by differences, along a random direction.
    learner = learner.double()
    e64 = [
        type(e)(
            type(e.trajectories)(
                *(v.double() if v.is_floating_point() else v for v in vars(e.trajectories).values())
            ),
            e.advantage.double(),
            e.log_prob.double(),
        )
        for e in happened.evidence
    ]
    weights = list(learner.policy.parameters())
    exact = torch.autograd.grad(
        importance(learner.policy, learner.replay(e64), e64[-1]).mean(), weights
    )
    along = [torch.randn_like(w) for w in weights]
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for w, d in zip(weights, along, strict=True):
                w.add_(d, alpha=sign * 1e-5)
        values.append(
            float(importance(learner.policy, learner.replay(e64), e64[-1]).mean().detach())
        )
        with torch.no_grad():
            for w, d in zip(weights, along, strict=True):
                w.sub_(d, alpha=sign * 1e-5)
    assert (values[0] - values[1]) / 2e-5 == pytest.approx(
        float(sum((g * d).sum() for g, d in zip(exact, along, strict=True))), rel=1e-4
    )


def test_trpo_improves_within_its_trust_region() -> None:
    torch.manual_seed(0)
    world = Navigation2D(horizon=10)
    learner = maml_policy(world, widths=(16,), n_episodes=10)
    happened = learner.adapt(world, world.tasks(6), seeded())
    last = happened.evidence[-1]
    before = float(
        importance(learner.policy, learner.replay(happened.evidence), last).mean().detach()
    )
    told = TRPO(max_kl=0.01).step(learner, happened)
    end = learner.replay(happened.evidence)
    after = float(importance(learner.policy, end, last).mean().detach())
    with torch.no_grad():
        kl = divergence(
            acting(learner.policy, happened.path[-1], last.trajectories),
            acting(learner.policy, end, last.trajectories),
            last.trajectories,
        ).mean()
    assert after < before
    assert told["improved"] == pytest.approx(before - after, abs=1e-5)
    assert 0 < float(kl) <= 0.01
    assert told["kl"] == pytest.approx(float(kl), abs=1e-5)


def test_a_step_that_cannot_improve_leaves_the_weights(monkeypatch) -> None:
    torch.manual_seed(0)
    world = Navigation2D(horizon=4)
    learner = maml_policy(world, widths=(4,), n_episodes=3)
    happened = learner.adapt(world, world.tasks(2), seeded())
    before = [p.detach().clone() for p in learner.policy.parameters()]
    # uphill
    monkeypatch.setattr("quickstudy.rl.outer.conjugate_gradient", lambda product, b, steps: -b)
    told = TRPO(backtracks=3).step(learner, happened)
    assert told == {"loss": told["loss"], "improved": 0.0, "kl": 0.0, "backtracks": 3}
    assert all(torch.equal(a, b) for a, b in zip(before, learner.policy.parameters(), strict=True))


def test_ppo_improves() -> None:
    torch.manual_seed(0)
    world = Navigation2D(horizon=10)
    learner = maml_policy(world, widths=(16,), n_episodes=10, first_order=True)
    assert (
        PPO(lr=1e-3).step(learner, learner.adapt(world, world.tasks(4), seeded()))["improved"] > 0
    )


def test_conjugate_gradient_solves() -> None:
    torch.manual_seed(0)
    root = torch.randn(6, 6, dtype=torch.float64)
    a, b = root @ root.T + torch.eye(6), torch.randn(6, dtype=torch.float64)
    torch.testing.assert_close(
        conjugate_gradient(lambda v: a @ v, b, steps=6), torch.linalg.solve(a, b)
    )


def test_bandits_are_learned_by_gradient_steps() -> None:
    """A few steps of REINFORCE on one bandit: it comes to prefer what pays."""
    torch.manual_seed(0)
    world = Bandits(n_arms=3)
    learner = maml_policy(world, widths=(8,), inner_lr=1.0, inner_steps=8, n_episodes=50)
    happened = learner.adapt(world, world.tasks(20, split="test"), seeded())
    assert float(happened.returns[-1].mean()) > float(happened.returns[0].mean()) + 0.1


def test_training_is_repeatable_and_tasks_belong_to_their_split() -> None:
    world, told = Navigation2D(horizon=4), []
    for _ in range(2):
        torch.manual_seed(0)
        learner = maml_policy(world, widths=(4,), n_episodes=2)
        told.append(train_policy(learner, world, TRPO(), iterations=2, n_tasks=3))
        told[-1].append({"along": returns_along(learner, world, n_tasks=3, steps=2).tolist()})
    assert told[0] == told[1]
    train, test = world.tasks(50), world.tasks(50, split="test")
    assert not set(map(tuple, train.tolist())) & set(map(tuple, test.tolist()))
    assert torch.equal(world.tasks(5, first=10), train[10:15])
    with pytest.raises(ConfigError, match="train and test"):
        world.tasks(3, split="val")


def test_the_oracle_walks_straight_and_episodes_end_at_the_goal() -> None:
    world = Navigation2D()
    tasks = world.tasks(10, split="test")
    t = play(world, tasks, lambda seen: world.oracle(tasks, seen), 2, seeded())
    assert t.mask.shape[2] <= 7
    assert float(t.returns.min()) > -3
    still = play(world, tasks, lambda seen: torch.zeros_like(seen), 1, seeded())
    torch.testing.assert_close(still.returns, -100 * tasks.norm(dim=1))
    assert bool((t.reward[~t.mask] == 0).all())


def test_tabular_worlds_are_markov_and_pay_what_they_say() -> None:
    world = TabularWorlds(n_states=3, n_actions=2, horizon=400)
    task = world.tasks(1)
    leads = task[0, 6:].view(6, 3)
    torch.testing.assert_close(leads.sum(1), torch.ones(6))
    t = play(world, task, lambda seen: torch.randint(2, seen.shape[:2]), 50, seeded())
    at = t.observed[0, :, :-1].argmax(-1) * 2 + t.action[0, :, :-1]
    after = t.observed[0, :, 1:].argmax(-1)
    for k in range(6):
        found = torch.bincount(after[at == k], minlength=3) / (at == k).sum()
        torch.testing.assert_close(found, leads[k], atol=0.05, rtol=0)
        assert float(t.reward[0, :, :-1][at == k].mean()) == pytest.approx(
            float(task[0, k]), abs=0.1
        )


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: type(w).__name__)
def test_what_is_fitted_acts_with_the_adapted_weights(world) -> None:
    torch.manual_seed(0)
    learner = maml_policy(world, widths=(8,), n_episodes=3)
    task = world.tasks(1)
    policy = learner.fit(world, task[0], seeded())
    params = learner.adapt(world, task, seeded()).path[-1]
    seen = torch.randn(5, world.n_observed)
    assert torch.equal(policy(seen), learner.policy(params, seen[None]).mode[0])
    assert not torch.equal(policy.policy.layers[1].bias, learner.policy.layers[1].bias)


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="at least one episode"):
        maml_policy(WORLDS[0], n_episodes=0)
    with pytest.raises(ConfigError, match="hidden layer"):
        policy_for(WORLDS[0], widths=())
    with pytest.raises(ConfigError, match="max_kl is positive"):
        TRPO(max_kl=0.0)
    with pytest.raises(ConfigError, match="epochs at least 1"):
        PPO(epochs=0)
    with pytest.raises(ConfigError, match="at least 2 arms"):
        Bandits(n_arms=1)
    with pytest.raises(ConfigError, match="at least 2 states"):
        TabularWorlds(n_states=1)
    t = collect(
        WORLDS[1],
        WORLDS[1].tasks(2),
        policy_for(WORLDS[1]),
        policy_for(WORLDS[1]).parameters_of(2),
        3,
        seeded(),
    )
    assert t.reward.shape == (2, 3, 1)
