"""A policy that adapts to a task by a few gradient steps on its own episodes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError
from quickstudy.inner.loop import AbstractLoop, InnerLoop
from quickstudy.inner.rules import FixedRate
from quickstudy.rl.advantage import advantages
from quickstudy.rl.environment import AbstractEnvironment
from quickstudy.rl.policy import AbstractPolicy, Params, policy_for
from quickstudy.rl.rollout import Trajectories, collect
from quickstudy.rl.surrogate import Evidence, log_prob, reinforce


@dataclass(frozen=True)
class Adaptation:
    """What happened on a batch of tasks.

    Args:
        evidence: of the policy before the first step, before the second, …, and after the last.
        path: the weights of each task at these times, ``[T …]``, without graphs.
    """

    evidence: tuple[Evidence, ...]
    path: tuple[dict[str, Tensor], ...]

    @property
    def returns(self) -> Float[Tensor, "L T"]:
        """The mean return of each task before the first step, …, and after the last."""
        return torch.stack([e.trajectories.returns for e in self.evidence])


class PolicyLearner(Described, nn.Module):
    """MAML for policies: θ⁽ʲ⁺¹⁾ = θ⁽ʲ⁾ − α ∇ loss(θ⁽ʲ⁾; episodes of θ⁽ʲ⁾), with the inner loop of
    the supervised learners.

    Args:
        policy: its weights are what is meta-learned.
        loop: how they change on a task.
        n_episodes: that each step learns from.
        gamma, smoothing: of the `advantages`.
        correction: see `quickstudy.rl.surrogate.reinforce`.
        average: over "steps" or "episodes", see `quickstudy.rl.advantage.mean_by`.

    Raises:
        ConfigError: for less than one episode, or another average.

    Paper: Finn, Abbeel, Levine 2017, arXiv:1703.03400, algorithm 3.
    """

    def __init__(
        self,
        policy: AbstractPolicy,
        loop: AbstractLoop,
        *,
        n_episodes: int = 20,
        gamma: float = 0.99,
        smoothing: float = 1.0,
        correction: bool = False,
        average: str = "steps",
    ) -> None:
        super().__init__()
        if average not in ("steps", "episodes"):
            raise ConfigError(f"The average is over 'steps' or 'episodes', not over '{average}'.")
        if n_episodes < 1:
            raise ConfigError(
                f"A step learns from at least one episode, got n_episodes={n_episodes}."
            )
        self.policy, self.loop, self.n_episodes = policy, loop, n_episodes
        self.gamma, self.smoothing, self.correction = gamma, smoothing, correction
        self.average = average

    def adapt(
        self,
        environment: AbstractEnvironment,
        tasks: Float[Tensor, "T P"],
        generator: torch.Generator,
        *,
        steps: int | None = None,
    ) -> Adaptation:
        """Act, learn, act again: episodes of the policy after 0, 1, … ``steps`` steps (as many as
        the loop takes, if None).
        """
        gathered: list[Evidence] = []

        def loss_at(params: Params, j: int) -> Tensor:
            if j == len(gathered):
                gathered.append(self.gather(environment, tasks, params, generator))
            return self._loss(params, gathered[j])

        with torch.no_grad():
            path = self.loop.path(self.policy.parameters_of(len(tasks)), loss_at, steps=steps)
        gathered.append(self.gather(environment, tasks, path[-1], generator))
        return Adaptation(tuple(gathered), tuple(path))

    def fit(
        self,
        environment: AbstractEnvironment,
        task: Float[Tensor, " P"],
        generator: torch.Generator,
        *,
        steps: int | None = None,
    ) -> "AdaptedPolicy":
        """Adapt to one task and return the policy that came of it."""
        happened = self.eval().adapt(environment, task[None], generator, steps=steps)
        return AdaptedPolicy(self.policy, happened.path[-1])

    def replay(self, evidence: Sequence[Evidence]) -> dict[str, Tensor]:
        """The weights that the current ones come to by the same episodes, with their graph: what an
        outer step is differentiated through.
        """
        n_tasks = len(evidence[0].log_prob)
        steps = len(evidence) - 1
        return self.loop.path(
            self.policy.parameters_of(n_tasks),
            lambda params, j: self._loss(params, evidence[j]),
            steps=steps,
        )[-1]

    def gather(
        self,
        environment: AbstractEnvironment,
        tasks: Tensor,
        params: Params,
        generator: torch.Generator,
    ) -> Evidence:
        """Episodes with these weights, judged."""
        t = collect(environment, tasks, self.policy, params, self.n_episodes, generator)
        return self.judge(params, t)

    def judge(self, params: Params, t: Trajectories) -> Evidence:
        """Episodes that these weights acted in, with what was better than expected in them."""
        with torch.no_grad():
            return Evidence(
                t,
                advantages(t, gamma=self.gamma, smoothing=self.smoothing, average=self.average),
                log_prob(self.policy, params, t),
            )

    def _loss(self, params: Params, e: Evidence) -> Tensor:
        return reinforce(self.policy, params, e, correction=self.correction, average=self.average)


class AdaptedPolicy(nn.Module):
    """A policy with the weights of one task: observations in, the most likely actions out.

    Args:
        policy: the kind.
        params: its weights, ``[1 …]``.
    """

    def __init__(self, policy: AbstractPolicy, params: Params) -> None:
        super().__init__()
        self.policy = copy.deepcopy(policy)
        with torch.no_grad():
            for name, p in self.policy.named_parameters():
                p.copy_(params[name][0])

    def forward(self, observed: Float[Tensor, "N S"]) -> Tensor:
        """Numbers ``[N]``, or vectors ``[N A]``."""
        with torch.no_grad():
            return self.policy(self.policy.parameters_of(1), observed[None]).mode[0]


def maml_policy(
    environment: AbstractEnvironment,
    *,
    widths: Sequence[int] = (64, 64),
    inner_lr: float = 0.1,
    later_lr: float | None = None,
    inner_steps: int = 1,
    n_episodes: int = 20,
    first_order: bool = False,
    correction: bool = False,
    gamma: float = 0.99,
    smoothing: float = 1.0,
    average: str = "steps",
) -> PolicyLearner:
    """A fresh policy for an environment, adapted by REINFORCE steps.

    Args:
        environment: what to act in.
        widths: of the policy's hidden layers.
        inner_lr, inner_steps, n_episodes: of the inner loop; 0 steps is ordinary policy search over
            all tasks.
        later_lr: the rate of all steps behind the first; None = the same. The paper halves it.
        first_order: leave the second derivative out.
        correction: see `quickstudy.rl.surrogate.reinforce`.
        gamma, smoothing: of the advantages.
        average: over "steps" or "episodes", see `quickstudy.rl.advantage.mean_by`.

    >>> from quickstudy.rl import Navigation2D
    >>> world = Navigation2D(horizon=5)
    >>> maml_policy(world, n_episodes=2).adapt(
    ...     world, world.tasks(3), torch.Generator().manual_seed(0)
    ... ).returns.shape
    torch.Size([2, 3])
    """
    loop = InnerLoop(
        FixedRate(inner_lr, later=later_lr), steps=inner_steps, first_order=first_order
    )
    return PolicyLearner(
        policy_for(environment, widths=widths),
        loop,
        n_episodes=n_episodes,
        gamma=gamma,
        smoothing=smoothing,
        correction=correction,
        average=average,
    )
