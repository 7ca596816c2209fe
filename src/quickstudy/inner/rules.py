"""What one inner step does with the gradients: the rules that learn nothing themselves."""

import abc
import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError

Params: TypeAlias = Mapping[str, Tensor]
Memory: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True)
class StepInputs:
    """What a rule knows at a step.

    Attributes:
        step: its number, from 0.
        params: the parameters before it, ``[T ...]`` each; of a single task they may lack the task
            axis.
        gradients: those of the inner loss, likewise.
        losses: the inner loss of each task, ``[T]``.
    """

    step: int
    params: Params
    gradients: Params
    losses: Tensor

    @property
    def n_tasks(self) -> int:
        """``T``."""
        return self.losses.numel()

    def of_each_task(self, value: Tensor, like: Tensor) -> Tensor:
        """``[T]`` so shaped that it multiplies a parameter ``like``, task by task."""
        return value.view(-1, *[1] * (like.ndim - 1)) if self.n_tasks > 1 else value.view(())


class AbstractRule(Described, nn.Module, abc.ABC):
    """From the gradients of a step to the parameters after it.

    Args:
        exact: whether all that the rule reads keeps its graph.
    """

    exact: bool = True

    def begin(self, params: Params) -> Memory:
        """What the rule remembers before the first step: tensors, none unless overridden."""
        return ()

    @abc.abstractmethod
    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        """The parameters after the step, and what the rule remembers of it."""


class FixedRate(AbstractRule):
    """Gradient descent with one fixed rate for everything.

    Args:
        lr: the rate, for a loss that is the *mean* over the support. The published MAML code
            divides the sum by K instead of N·K, so its rates must be multiplied by N: 0.4 at 5-way
            is 2.0 here.
        later: the rate of all steps behind the first; None = the same.
    """

    def __init__(self, lr: float, *, later: float | None = None) -> None:
        super().__init__()
        self.lr, self.later = positive_rate(lr), lr if later is None else positive_rate(later)

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        rate = self.later if move.step else self.lr
        return {n: torch.add(p, move.gradients[n], alpha=-rate) for n, p in move.params.items()}, ()


class Momentum(AbstractRule):
    """Gradient descent with momentum: v ← μ v + g, θ ← θ − α v.

    Args:
        lr: α.
        momentum: μ, from 0 to below 1.
    """

    def __init__(self, lr: float, *, momentum: float = 0.9) -> None:
        super().__init__()
        self.lr, self.momentum = positive_rate(lr), _fraction("momentum", momentum)

    def begin(self, params: Params) -> Memory:
        return tuple(torch.zeros_like(p) for p in params.values())

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        velocity = tuple(
            self.momentum * v + g for v, g in zip(memory, move.gradients.values(), strict=True)
        )
        return {
            n: torch.add(p, v, alpha=-self.lr)
            for (n, p), v in zip(move.params.items(), velocity, strict=True)
        }, velocity


class Adam(AbstractRule):
    """Adam, differentiable also where a gradient is zero.

    m ← β₁m + (1−β₁)g, v ← β₂v + (1−β₂)g²; θ ← θ − α m̂ / √(v̂ + ε²), with m̂ and v̂ corrected for
    their start at zero.

    Args:
        lr: α.
        betas: β₁ (0 for Reptile) and β₂.
        eps: ε. It stands inside the root, where torch adds it outside: a root has no derivative at
            zero.
    """

    def __init__(
        self, lr: float, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__()
        self.lr, self.eps = positive_rate(lr), eps
        self.betas = (_fraction("betas[0]", betas[0]), _fraction("betas[1]", betas[1]))

    def begin(self, params: Params) -> Memory:
        return tuple(torch.zeros_like(p) for p in (*params.values(), *params.values()))

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        (b1, b2), n, gradients = self.betas, len(move.params), list(move.gradients.values())
        first = tuple(b1 * m + (1 - b1) * g for m, g in zip(memory[:n], gradients, strict=True))
        second = tuple(
            b2 * v + (1 - b2) * g.square() for v, g in zip(memory[n:], gradients, strict=True)
        )
        c1, c2 = 1 - b1 ** (move.step + 1), 1 - b2 ** (move.step + 1)
        moved = {
            name: p - self.lr * (m / c1) * torch.rsqrt(v / c2 + self.eps**2)
            for (name, p), m, v in zip(move.params.items(), first, second, strict=True)
        }
        return moved, (*first, *second)


def positive_rate(lr: float) -> float:
    """The rate itself.

    Raises:
        ConfigError: unless it is above 0.
    """
    if not lr > 0:
        raise ConfigError(f"An inner learning rate must be above 0, got {lr}.")
    return lr


def _fraction(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1, got {value}.")
    return value


class ByName(AbstractRule):
    """One rule for most parameters, and others for those whose names fit a pattern.

    Args:
        rule: of all the others.
        others: shell patterns of names, and the rule of each; the first that fits counts.

    Example:
        >>> rule = ByName(FixedRate(0.1), {"encoder.logits": FixedRate(30.0)})
        >>> one = {"encoder.logits": torch.ones(1), "head.bias": torch.ones(1)}
        >>> rule(StepInputs(0, one, one, torch.ones(1)), rule.begin(one))[0]
        {'encoder.logits': tensor([-29.]), 'head.bias': tensor([0.9000])}
    """

    def __init__(self, rule: AbstractRule, others: Mapping[str, AbstractRule]) -> None:
        super().__init__()
        self.patterns, self.rules = tuple(others), nn.ModuleList((*others.values(), rule))

    def begin(self, params: Params) -> Memory:
        return tuple(
            m
            for rule, names in self._shared(params)
            for m in rule.begin({n: params[n] for n in names})
        )

    def forward(self, move: StepInputs, memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        after, kept = dict[str, Tensor](), list[Tensor]()
        for rule, names in self._shared(move.params):
            mine = {n: move.params[n] for n in names}
            n = len(rule.begin(mine))
            memory, own = memory[n:], memory[:n]
            moved, own = rule(
                StepInputs(move.step, mine, {n: move.gradients[n] for n in names}, move.losses), own
            )
            after |= moved
            kept += own
        return {n: after[n] for n in move.params}, tuple(kept)

    def _shared(self, params: Params) -> list[tuple[AbstractRule, list[str]]]:
        """Each rule that has something to do, and what."""
        of = {
            n: next(
                (i for i, p in enumerate(self.patterns) if fnmatch.fnmatchcase(n, p)),
                len(self.patterns),
            )
            for n in params
        }
        out = []
        for i, rule in enumerate(self.rules):
            assert isinstance(rule, AbstractRule)
            if names := [n for n in params if of[n] == i]:
                out.append((rule, names))
        return out
