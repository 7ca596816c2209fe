"""What the outer loop does with a batch of tasks: TRPO or PPO through the adaptation."""

import abc
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils import _pytree as pytree

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError
from quickstudy.rl.adapt import Adaptation, PolicyLearner
from quickstudy.rl.policy import Params
from quickstudy.rl.surrogate import Evidence, acting, divergence, importance


class AbstractOuter(Described, abc.ABC):
    """Moves the weights that adaptation begins with."""

    @abc.abstractmethod
    def step(self, learner: PolicyLearner, adaptation: Adaptation) -> dict[str, float]:
        """One step, by what happened on a batch of tasks. Returns what is worth logging."""


class TRPO(AbstractOuter):
    """The largest step along the natural gradient that keeps the adapted policies near what they
    were, and improves them.

    Args:
        max_kl: the mean divergence of the adapted policies that a step may cause.
        cg_steps, damping: of the conjugate gradient that solves with the Fisher matrix.
        fisher_share: of the tasks, whose episodes the Fisher matrix is estimated from; it is most
            of the work (the paper's appendix C does alike).
        backtracks, shrink: how often a step is shortened, and by what factor, before it is given
            up.
        backward_kl: the line search measures KL(new ‖ old), as pytorch-maml-rl does, in place of
            the paper's KL(old ‖ new).

    Paper: Schulman et al. 2015, arXiv:1502.05477, appendix C; through an adaptation: Finn et al.
        2017, arXiv:1703.03400, section 5.3.
    """

    def __init__(
        self,
        *,
        max_kl: float = 0.01,
        cg_steps: int = 10,
        damping: float = 1e-5,
        fisher_share: float = 0.25,
        backtracks: int = 15,
        shrink: float = 0.5,
        backward_kl: bool = False,
    ) -> None:
        if (
            max_kl <= 0
            or cg_steps < 1
            or damping < 0
            or backtracks < 1
            or not 0 < shrink < 1
            or not 0 < fisher_share <= 1
        ):
            raise ConfigError(
                "max_kl is positive, cg_steps and backtracks at least 1, damping not negative, "
                "shrink in (0, 1) and fisher_share in (0, 1], got "
                f"{max_kl}, {cg_steps}, {backtracks}, {damping}, {shrink} and {fisher_share}."
            )
        self.max_kl = max_kl
        self.cg_steps = cg_steps
        self.damping = damping
        self.fisher_share = fisher_share
        self.backtracks, self.shrink, self.backward_kl = backtracks, shrink, backward_kl

    def step(self, learner: PolicyLearner, adaptation: Adaptation) -> dict[str, float]:
        weights = list(learner.policy.parameters())

        def loss_and_kl(evidence: Sequence[Evidence], end: Params) -> tuple[Tensor, Tensor]:
            params, t = learner.replay(evidence), evidence[-1].trajectories
            with torch.no_grad():
                old = acting(learner.policy, end, t)
            loss = importance(learner.policy, params, evidence[-1], average=learner.average)
            new = acting(learner.policy, params, t)
            first, second = (new, old) if self.backward_kl else (old, new)
            return loss.mean(), divergence(first, second, t, average=learner.average).mean()

        whole = adaptation.evidence, adaptation.path[-1]
        loss, _ = loss_and_kl(*whole)
        gradient = _flat(torch.autograd.grad(loss, weights))
        n_tasks_used = max(1, round(self.fisher_share * len(adaptation.evidence[0].log_prob)))
        slope = _flat(
            torch.autograd.grad(
                loss_and_kl(*pytree.tree_map(lambda v: v[:n_tasks_used], whole))[1],
                weights,
                create_graph=True,
            )
        )

        def fisher(v: Tensor) -> Tensor:
            return (
                _flat(torch.autograd.grad(slope @ v, weights, retain_graph=True)) + self.damping * v
            )

        direction = conjugate_gradient(fisher, -gradient, steps=self.cg_steps)
        size = (2 * self.max_kl / (direction @ fisher(direction)).clamp_min(1e-12)).sqrt()
        home = parameters_to_vector(weights).detach().clone()
        before, tried = float(loss.detach()), 0
        with torch.no_grad():
            for tried in range(self.backtracks):
                vector_to_parameters(home + size * self.shrink**tried * direction, weights)
                new, moved = loss_and_kl(*whole)
                if float(new) < before and float(moved) <= self.max_kl:
                    return {
                        "loss": before,
                        "improved": before - float(new),
                        "kl": float(moved),
                        "backtracks": tried,
                    }
            vector_to_parameters(home, weights)
        return {"loss": before, "improved": 0.0, "kl": 0.0, "backtracks": tried + 1}


class PPO(AbstractOuter):
    """Several Adam steps on the clipped importance of the episodes after adaptation.

    Args:
        lr: of Adam.
        epochs: steps on the same episodes.
        clip: how far a ratio may count.

    Papers: Schulman et al. 2017, arXiv:1707.06347; through an adaptation: Rothfuss et al. 2019,
    arXiv:1810.06784.
    """

    def __init__(self, *, lr: float = 1e-3, epochs: int = 5, clip: float = 0.2) -> None:
        if lr <= 0 or epochs < 1 or clip <= 0:
            raise ConfigError(
                f"lr and clip are positive and epochs at least 1, got {lr}, {clip} and {epochs}."
            )
        self.lr, self.epochs, self.clip = lr, epochs, clip
        self._adam: torch.optim.Adam | None = None

    def step(self, learner: PolicyLearner, adaptation: Adaptation) -> dict[str, float]:
        if self._adam is None:
            self._adam = torch.optim.Adam(learner.policy.parameters(), lr=self.lr)
        losses = []
        for _ in range(self.epochs):
            loss = importance(
                learner.policy,
                learner.replay(adaptation.evidence),
                adaptation.evidence[-1],
                clip=self.clip,
                average=learner.average,
            ).mean()
            self._adam.zero_grad()
            loss.backward()
            self._adam.step()
            losses.append(float(loss.detach()))
        return {"loss": losses[0], "improved": losses[0] - losses[-1]}


def conjugate_gradient(product: Callable[[Tensor], Tensor], b: Tensor, *, steps: int) -> Tensor:
    """X with A x ≈ b, from products with the positive definite A alone.

    >>> conjugate_gradient(
    ...     lambda v: torch.tensor([2.0, 4.0]) * v, torch.tensor([2.0, 8.0]), steps=2
    ... )
    tensor([1., 2.])
    """
    x = torch.zeros_like(b)
    residual, along = b.clone(), b.clone()
    size = residual @ residual
    for _ in range(steps):
        if float(size) < 1e-20:
            break
        turned = product(along)
        rate = size / (along @ turned)
        x, residual = x + rate * along, residual - rate * turned
        after = residual @ residual
        along, size = residual + after / size * along, after
    return x


def _flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])
