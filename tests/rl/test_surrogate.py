"""Losses of reinforcement learning against expectations that can be written down."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quickstudy.rl import Navigation2D, maml_policy
from quickstudy.rl.advantage import advantages, discounted, linear_baseline
from quickstudy.rl.policy import CategoricalPolicy
from quickstudy.rl.rollout import Trajectories
from quickstudy.rl.surrogate import Evidence, importance, log_prob, reinforce


class Table(CategoricalPolicy):
    """A softmax over actions that sees nothing: its weights are its logits."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(1, len(logits))
        self.logits = torch.nn.Parameter(logits)

    def _top(self, params, observed: Tensor) -> Tensor:
        return params["logits"][:, None].expand(-1, observed.shape[1], -1)


PAYS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
HORIZON = 2


def every_episode() -> tuple[Tensor, Tensor]:
    """All episodes of two actions, and what each action and those behind it bring: the second pays
    more after the same first.
    """
    actions = torch.tensor(list(itertools.product(range(3), repeat=HORIZON)))
    first = PAYS[actions[:, 0]]
    second = PAYS[actions[:, 1]] * (1 + (actions[:, 0] == actions[:, 1]).double())
    return actions, torch.stack((first, second), 1)


def expected_return(logits: Tensor) -> Tensor:
    """Written down: the sum over all episodes of probability times return."""
    actions, rewards = every_episode()
    p = F.log_softmax(logits, 0)[actions].sum(1).exp()
    return (p * rewards.sum(1)).sum()


def expected_loss(policy: Table, logits: Tensor, *, correction: bool) -> Tensor:
    """The mean of the loss over all episodes, weighted as they are drawn."""
    actions, rewards = every_episode()
    weight = F.log_softmax(logits, 0).detach()[actions].sum(1).exp()
    togo = rewards.flip(1).cumsum(1).flip(1)
    total = torch.zeros((), dtype=torch.float64)
    for a, g, w in zip(actions, togo, weight, strict=True):
        t = Trajectories(
            torch.zeros(1, 1, HORIZON, 1, dtype=torch.float64),
            a[None, None],
            g[None, None],
            torch.ones(1, 1, HORIZON, dtype=torch.bool),
        )
        e = Evidence(t, g[None, None], torch.zeros(1, 1, HORIZON, dtype=torch.float64))
        total = (
            total
            + w * HORIZON * reinforce(policy, {"logits": logits[None]}, e, correction=correction)[0]
        )
    return -total


@pytest.mark.parametrize("correction", [False, True])
def test_the_gradient_is_that_of_the_expected_return(correction: bool) -> None:
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    (true,) = torch.autograd.grad(expected_return(logits), logits)
    (ours,) = torch.autograd.grad(
        expected_loss(Table(logits.detach()), logits, correction=correction), logits
    )
    torch.testing.assert_close(ours, true)


def test_the_second_derivative_is_right_only_with_the_correction() -> None:
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    policy = Table(logits)
    true = torch.autograd.functional.hessian(expected_return, logits)
    right, wrong = (
        torch.autograd.functional.hessian(
            lambda x, c=c: expected_loss(policy, x, correction=c), logits
        )
        for c in (True, False)
    )
    torch.testing.assert_close(right, true)
    assert float((wrong - true).abs().max()) > 0.1


def test_discounted_sums_and_the_baseline_by_loops() -> None:
    torch.manual_seed(0)
    world = Navigation2D(horizon=7)
    learner = maml_policy(world, n_episodes=5)
    tasks = world.tasks(2)
    t = learner.gather(
        world, tasks, learner.policy.parameters_of(2), torch.Generator().manual_seed(0)
    ).trajectories
    g = discounted(t.reward, 0.9)
    for h in range(7):
        torch.testing.assert_close(
            g[..., h], sum(0.9 ** (k - h) * t.reward[..., k] for k in range(h, 7))
        )
    value = linear_baseline(t, g)
    for i in range(2):
        s = t.observed[i].double()
        when = torch.arange(7, dtype=torch.float64).expand(5, 7)[..., None] / 100
        phi = torch.cat((s, s**2, when, when**2, when**3, torch.ones_like(when)), 2).flatten(0, 1)
        gram = phi.T @ phi
        w = torch.linalg.solve(
            gram + 1e-5 * torch.eye(8, dtype=torch.float64),
            phi.T @ g[i].double().flatten(),
        )
        torch.testing.assert_close(value[i].flatten().double(), phi @ w, rtol=1e-4, atol=1e-4)


def test_advantages_are_those_of_their_definition_and_blind_behind_the_end() -> None:
    torch.manual_seed(0)
    observed = torch.randn(1, 4, 6, 2)
    mask = torch.ones(1, 4, 6, dtype=torch.bool)
    mask[0, 0, 3:] = False
    reward = torch.randn(1, 4, 6) * mask
    t = Trajectories(observed, torch.zeros(1, 4, 6, 2), reward, mask)
    a = advantages(t, gamma=0.9, smoothing=0.8)
    assert bool((a[0, 0, 3:] == 0).all())
    inside = a[mask]
    torch.testing.assert_close(inside.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(inside.std(correction=0), torch.tensor(1.0), atol=1e-4, rtol=0)
    value = linear_baseline(t, discounted(reward, 0.9)) * mask
    raw = torch.zeros(4, 6)
    for e in range(4):
        last = 3 if e == 0 else 6
        for h in range(last):
            for k in range(h, last):
                after = value[0, e, k + 1] if k + 1 < last else 0.0
                raw[e, h] += (0.9 * 0.8) ** (k - h) * (
                    reward[0, e, k] + 0.9 * after - value[0, e, k]
                )
    kept = raw[mask[0]]
    expected = (kept - kept.mean()) / kept.std(correction=0)
    torch.testing.assert_close(a[0][mask[0]], expected, rtol=1e-3, atol=1e-3)


def test_importance_at_the_same_weights_is_the_mean_advantage_and_clipping_stops_it() -> None:
    torch.manual_seed(0)
    world = Navigation2D(horizon=5)
    learner = maml_policy(world, n_episodes=4)
    params = learner.policy.parameters_of(2)
    e = learner.gather(world, world.tasks(2), params, torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        importance(learner.policy, params, e), torch.zeros(2), atol=1e-5, rtol=0
    )
    far = {n: p + 0.5 for n, p in params.items()}
    ratio = (log_prob(learner.policy, far, e.trajectories) - e.log_prob).exp()
    low = torch.minimum(ratio * e.advantage, ratio.clamp(0.8, 1.2) * e.advantage)
    torch.testing.assert_close(importance(learner.policy, far, e, clip=0.2), -low.mean((1, 2)))
