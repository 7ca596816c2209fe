"""RL²: a recurrent policy that learns within its hidden state, the black-box counterpart of
gradient steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError
from quickstudy.core.rng import generator
from quickstudy.core.types import tensor_dataclass
from quickstudy.rl.advantage import discounted
from quickstudy.rl.environment import AbstractEnvironment
from quickstudy.rl.policy import drawn


class RecurrentPolicy(Described, nn.Module):
    """A gated recurrent unit reads (observation, last action, last reward, whether the episode is
    new); its state lives on from episode to episode of a trial.

    Args:
        n_observed, n_actions, discrete: of the environment.
        width: of the hidden state.

    Paper: Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763.
    """

    def __init__(
        self, n_observed: int, n_actions: int, *, discrete: bool = True, width: int = 64
    ) -> None:
        super().__init__()
        if width < 1:
            raise ConfigError(f"width must be at least 1, got {width}.")
        self.n_observed, self.n_actions, self.discrete = n_observed, n_actions, discrete
        self.reader = nn.GRU(n_observed + n_actions + 2, width)
        self.actor, self.critic = nn.Linear(width, n_actions), nn.Linear(width, 1)
        nn.init.normal_(self.actor.weight, std=0.01)
        self.log_std = None if discrete else nn.Parameter(torch.full((n_actions,), -1.0))

    def forward(
        self, tokens: Float[Tensor, "H T I"], hidden: Tensor | None = None
    ) -> tuple[Distribution, Float[Tensor, "H T"], Tensor]:
        """What to do at each step, what is still to be expected, and the hidden state after the
        last.
        """
        read, after = self.reader(tokens, hidden)
        top = self.actor(read)
        if self.log_std is None:
            return Categorical(logits=top), self.critic(read)[..., 0], after
        return (
            Independent(Normal(top, self.log_std.exp().expand_as(top)), 1),
            self.critic(read)[..., 0],
            after,
        )

    def token(
        self, observed: Tensor, action: Tensor | None, reward: Tensor, new: Tensor
    ) -> Float[Tensor, "T I"]:
        """What is read at a step; ``action`` is None at the first one."""
        if action is None:
            last = observed.new_zeros(len(observed), self.n_actions)
        else:
            last = F.one_hot(action, self.n_actions).to(observed.dtype) if self.discrete else action
        return torch.cat((observed, last, reward[:, None], new[:, None].to(observed.dtype)), 1)


@tensor_dataclass()
class Trial:
    """Episodes of one task after another, as the policy lived them; steps first."""

    tokens: Float[Tensor, "H T I"]
    action: Tensor
    reward: Float[Tensor, "H T"]
    log_prob: Float[Tensor, "H T"]
    value: Float[Tensor, "H T"]
    episode: Tensor

    def returns(self, n_episodes: int) -> Float[Tensor, "E T"]:
        """The sum of rewards of each episode."""
        out = self.reward.new_zeros(n_episodes, self.reward.shape[1])
        return out.scatter_add(0, self.episode, self.reward)


def live(
    policy: RecurrentPolicy,
    environment: AbstractEnvironment,
    tasks: Float[Tensor, "T P"],
    n_episodes: int,
    source: torch.Generator,
) -> Trial:
    """``n_episodes`` episodes of each task, one after another, each of full length. Nothing is
    differentiated.
    """
    tokens, actions, rewards, log_probs, values, episodes = [], [], [], [], [], []
    action, hidden, reward = None, None, tasks.new_zeros(len(tasks))
    with torch.no_grad():
        for k in range(n_episodes):
            state = environment.reset(tasks, 1, source)
            alive = torch.ones(len(tasks), dtype=torch.bool)
            for h in range(environment.horizon):
                new = torch.full((len(tasks),), h == 0)
                tokens.append(
                    policy.token(environment.observe(state)[:, 0].float(), action, reward, new)
                )
                distribution, value, hidden = policy(tokens[-1][None], hidden)
                action = drawn(distribution, source)[0]
                log_probs.append(distribution.log_prob(action[None])[0])
                state, paid, over = environment.step(tasks, state, action[:, None], source)
                reward = paid[:, 0] * alive
                alive = alive & ~over[:, 0]
                actions.append(action)
                rewards.append(reward)
                values.append(value[0])
                episodes.append(torch.full((len(tasks),), k))
    return Trial(*(torch.stack(v) for v in (tokens, actions, rewards, log_probs, values, episodes)))


@dataclass(frozen=True)
class TrialPPO:
    """PPO on whole trials: the reward of later episodes pays for what is learned in earlier ones.

    Args:
        lr, epochs, clip: of the steps on one batch of trials.
        gamma, smoothing: of the advantages, over the whole trial.
        entropy, value: weights of the entropy (to keep trying) and of the squared error of the
            critic.

    Raises:
        ConfigError: for numbers out of range.
    """

    lr: float = 3e-3
    epochs: int = 4
    clip: float = 0.2
    gamma: float = 0.99
    smoothing: float = 0.3
    entropy: float = 0.01
    value: float = 0.5

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.epochs < 1 or self.clip <= 0 or min(self.entropy, self.value) < 0:
            raise ConfigError(
                "lr and clip are positive, epochs at least 1, entropy and value not negative, got "
                f"{self.lr}, {self.clip}, {self.epochs}, {self.entropy} and {self.value}."
            )


def train_recurrent(
    policy: RecurrentPolicy,
    environment: AbstractEnvironment,
    *,
    iterations: int,
    n_tasks: int = 100,
    n_episodes: int = 10,
    ppo: TrialPPO | None = None,
    seed: int = 0,
    on_iteration: Callable[[int, dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train on trials of new tasks at every iteration; returns the mean return of a trial's first
    and last episode at each.

    Args:
        policy: changed in place.
        environment: where the tasks are from.
        iterations: outer steps.
        n_tasks: trials of each.
        n_episodes: of a trial.
        ppo: how to step.
        seed: of tasks and actions.
        on_iteration: called with the number of each iteration and its results.
    """
    p = ppo or TrialPPO()
    adam = torch.optim.Adam(policy.parameters(), lr=p.lr)
    history = []
    for i in range(iterations):
        tasks = environment.tasks(n_tasks, first=(seed * 1_000_000 + i) * n_tasks)
        trial = live(policy, environment, tasks, n_episodes, generator("rl2", seed, i))
        a, goal = _judged(trial, p)
        for _ in range(p.epochs):
            distribution, value, _ = policy(trial.tokens)
            ratio = (distribution.log_prob(trial.action) - trial.log_prob).exp()
            gain = torch.minimum(ratio * a, ratio.clamp(1 - p.clip, 1 + p.clip) * a).mean()
            loss = (
                -gain
                + p.value * F.mse_loss(value, goal)
                - p.entropy * distribution.entropy().mean()
            )
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
            adam.step()
        by_episode = trial.returns(n_episodes).mean(1)
        history.append(
            {
                "first": float(by_episode[0]),
                "last": float(by_episode[-1]),
                "trial": float(by_episode.sum()),
            }
        )
        if on_iteration:
            on_iteration(i, history[-1])
    return history


def _judged(trial: Trial, p: TrialPPO) -> tuple[Tensor, Tensor]:
    later = torch.cat((trial.value[1:], torch.zeros_like(trial.value[:1])))
    gap = trial.reward + p.gamma * later - trial.value
    a = discounted(gap.T[:, None], p.gamma * p.smoothing)[:, 0].T
    return (a - a.mean()) / (a.std() + 1e-8), a + trial.value
