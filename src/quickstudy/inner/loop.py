"""Gradient steps that can be differentiated through. Knows nothing of learners: reinforcement
learning runs it too.
"""

import abc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from quickstudy.core.clock import Clock
from quickstudy.core.describe import Described
from quickstudy.core.errors import ConfigError
from quickstudy.inner.recompute import recomputed
from quickstudy.inner.rules import AbstractRule, Params, StepInputs
from quickstudy.kernels.precision import in_half_precision

LossAt: TypeAlias = Callable[[Params, int], Tensor]


class AbstractLoop(Described, nn.Module, abc.ABC):
    """From the parameters before the steps to those after them.

    Attributes:
        exact: whether the outer gradient is the true one.
    """

    exact: bool

    @property
    @abc.abstractmethod
    def steps(self) -> int:
        """How many steps it takes, in training or in evaluation, whichever it is in."""

    @abc.abstractmethod
    def run(
        self, params: Params, loss_at: LossAt, *, given: Iterable[Tensor] = ()
    ) -> dict[str, Tensor]:
        """Descend ``loss_at(params, step)`` from ``params``; inside ``torch.no_grad`` the result
        carries no graph.

        Args:
            params: where to start.
            loss_at: the loss of each task, ``[T]``, or a scalar for one. The tasks are independent
                of each other.
            given: all else that the loss depends on and that the outer gradient must reach (the
                loop's own parameters need not be named).
                Read only by loops that build the graph of the loss a second time.

        Raises:
            ConfigError: inside ``torch.inference_mode`` or autocast, or when ``given`` leaves out a
                parameter that the loss depends on.
        """

    @abc.abstractmethod
    def path(
        self, params: Params, loss_at: LossAt, *, steps: int | None = None
    ) -> list[dict[str, Tensor]]:
        """The parameters after 0, 1, … ``steps`` steps (as many as `run` takes, if None), all with
        their graphs.
        """


class InnerLoop(AbstractLoop):
    """θ⁽ʲ⁺¹⁾ = rule(θ⁽ʲ⁾, ∇ loss(θ⁽ʲ⁾)), for j = 0 … steps−1.

    Args:
        rule: what a step does with the gradient.
        steps: how many steps.
        test_steps: how many in evaluation; 0 = as many.
        first_order: treat the inner gradients as constants, so that the outer gradient has no
            Hessian in it.
        recompute: forget each step's graph and build it again for its share of the outer gradient.
            Exact; the memory no longer grows with the steps but for the parameters themselves, and
            a second-order step takes about 1.2 times as long.
        clip_value: largest size of each number of an inner gradient; 0 = no clipping.
        second_order_from: the outer steps of training that are of first order before the second
            order begins (MAML++'s derivative-order annealing).
        window: cut the graph behind every so many steps (truncated back-propagation, for long
            runs); 0 = never.
    """

    def __init__(
        self,
        rule: AbstractRule,
        *,
        steps: int,
        test_steps: int = 0,
        first_order: bool = False,
        recompute: bool = False,
        clip_value: float = 0.0,
        second_order_from: int = 0,
        window: int = 0,
    ) -> None:
        super().__init__()
        if steps < 0 or test_steps < 0:
            raise ConfigError(
                "The number of inner steps cannot be negative, got "
                f"{steps if steps < 0 else test_steps}."
            )
        if min(clip_value, second_order_from, window) < 0:
            raise ConfigError(
                f"clip_value, second_order_from and window cannot be negative, got {clip_value}, "
                f"{second_order_from} and {window}. Use 0 for none."
            )
        self.rule = rule
        self.first_order = first_order
        self.recompute = recompute
        self.clip_value = clip_value
        self._train_steps, self._test_steps = steps, test_steps or steps
        self.second_order_from, self.window = second_order_from, window
        self.clock = Clock() if second_order_from and not first_order else None
        self.exact = not first_order and self.clock is None and not window and rule.exact

    @property
    def steps(self) -> int:
        return self._train_steps if self.training else self._test_steps

    def run(
        self, params: Params, loss_at: LossAt, *, given: Iterable[Tensor] = ()
    ) -> dict[str, Tensor]:
        check_can_differentiate(params)
        if (
            torch.is_grad_enabled()
            and self.recompute
            and not self._first_order_now
            and not self.window
        ):
            step, begin = self._step_of(params, loss_at)
            with torch.enable_grad():
                end = recomputed(step, self.steps, begin, [*given, *self.rule.parameters()])
            return dict(zip(params, end, strict=False))
        *_, end = self._points(params, loss_at, self.steps)
        return end

    def path(
        self, params: Params, loss_at: LossAt, *, steps: int | None = None
    ) -> list[dict[str, Tensor]]:
        check_can_differentiate(params)
        return list(self._points(params, loss_at, self.steps if steps is None else steps))

    def _points(self, params: Params, loss_at: LossAt, steps: int) -> Iterator[dict[str, Tensor]]:
        outer = torch.is_grad_enabled()
        step, now = self._step_of(params, loss_at)
        if not outer:
            now = [p.detach() for p in now]
        yield dict(zip(params, now, strict=False))
        for j in range(steps):
            if self.window and j and j % self.window == 0:
                now = [p.detach() for p in now]
            with torch.enable_grad():
                now = step(j, now, outer and not self._first_order_now)
            now = now if outer else [p.detach() for p in now]
            yield dict(zip(params, now, strict=False))

    def _step_of(
        self, params: Params, loss_at: LossAt
    ) -> tuple[Callable[[int, Sequence[Tensor], bool], list[Tensor]], list[Tensor]]:
        """One step as a function of the parameters and, behind them, the rule's memory; and what it
        begins with.
        """
        names, n = list(params), len(params)

        def step(j: int, before: Sequence[Tensor], create_graph: bool) -> list[Tensor]:
            start = [p if p.requires_grad else p.detach().requires_grad_() for p in before[:n]]
            at = dict(zip(names, start, strict=True))
            losses = loss_at(at, j)
            gradients = gradients_of(losses, at, create_graph=create_graph)
            if self.clip_value:
                gradients = tuple(g.clamp(-self.clip_value, self.clip_value) for g in gradients)
            known = losses if create_graph else losses.detach()
            after, memory = self.rule(
                StepInputs(j, at, dict(zip(names, gradients, strict=True)), known),
                tuple(before[n:]),
            )
            return [*(after[name] for name in names), *memory]

        return step, [*params.values(), *self.rule.begin(params)]

    @property
    def _first_order_now(self) -> bool:
        return self.first_order or (
            self.clock is not None and self.clock.now < self.second_order_from
        )


def gradients_of(losses: Tensor, at: Params, *, create_graph: bool) -> tuple[Tensor, ...]:
    """The inner gradients; zero for parameters that the network does not use.

    Raises:
        ConfigError: when the loss depends on none of them.
    """
    if not losses.requires_grad:
        raise ConfigError(
            f"The inner loss depends on none of the adapted parameters {', '.join(at)}: the "
            "network does not use them, or detaches its answers."
        )
    return torch.autograd.grad(
        losses.sum(),
        list(at.values()),
        create_graph=create_graph,
        allow_unused=True,
        materialize_grads=True,
    )


def check_can_differentiate(params: Params) -> None:
    """Refuse modes in which the gradients of an inner loop do not exist or would be wrong.

    Raises:
        ConfigError: inside ``torch.inference_mode`` or autocast.
    """
    if torch.is_inference_mode_enabled():
        raise ConfigError(
            "Adapting takes gradients, which torch.inference_mode forbids. Use torch.no_grad(), or "
            "adapt outside of it."
        )
    if any(in_half_precision(p) for p in params.values()):
        raise ConfigError(
            "An inner loop does not run in half precision: its second derivatives would be 8 to 23 "
            "% off. Train with precision=32 "
            "(half precision is for metric learners), or leave autocast before adapting."
        )
