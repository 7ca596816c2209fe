"""RL²."""

import pytest
import torch

from quickstudy.core.errors import ConfigError
from quickstudy.rl import (
    Bandits,
    Navigation2D,
    RecurrentPolicy,
    TabularWorlds,
    TrialPPO,
    live,
    train_recurrent,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "world",
    [Bandits(n_arms=3), TabularWorlds(n_states=4, n_actions=3, horizon=3), Navigation2D(horizon=4)],
    ids=lambda w: type(w).__name__,
)
def test_reading_a_trial_again_says_what_was_said(world) -> None:
    """The state lives on from episode to episode; whole trials read at once give the same
    probabilities.
    """
    torch.manual_seed(0)
    policy = RecurrentPolicy(world.n_observed, world.n_actions, discrete=world.discrete, width=8)
    trial = live(policy, world, world.tasks(3), 4, seeded())
    assert trial.reward.shape == (4 * world.horizon, 3)
    distribution, value, _ = policy(trial.tokens)
    torch.testing.assert_close(distribution.log_prob(trial.action), trial.log_prob)
    torch.testing.assert_close(value, trial.value)
    torch.testing.assert_close(trial.returns(4).sum(0), trial.reward.sum(0))
    new = trial.tokens[..., -1]
    assert torch.equal(new[:: world.horizon], torch.ones_like(new[:: world.horizon]))
    assert float(new.sum()) == 4 * 3
    # what is read of the past: the last action and what it brought
    torch.testing.assert_close(trial.tokens[1:, :, -2], trial.reward[:-1])
    told = trial.tokens[1:, :, world.n_observed : -2]
    torch.testing.assert_close(
        told,
        torch.nn.functional.one_hot(trial.action[:-1], world.n_actions).float()
        if world.discrete
        else trial.action[:-1],
    )


def test_it_learns_to_try_and_to_choose() -> None:
    """Two arms, one of which always pays: who remembers does better than the 0.5 of chance."""

    class Sure(Bandits):
        def task(self, split: str, number: int) -> torch.Tensor:
            return super().task(split, number).argsort().argsort().float()

    torch.manual_seed(0)
    world = Sure(n_arms=2)
    policy = RecurrentPolicy(1, 2, width=16)
    train_recurrent(policy, world, iterations=60, n_tasks=50, n_episodes=5, ppo=TrialPPO(lr=1e-2))
    got = live(policy, world, world.tasks(200, split="test"), 5, seeded()).returns(5).mean(1)
    assert 0.4 < float(got[0]) < 0.6
    assert float(got[-1]) > 0.9


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        RecurrentPolicy(1, 2, width=0)
    with pytest.raises(ConfigError, match="epochs at least 1"):
        TrialPPO(epochs=0)
