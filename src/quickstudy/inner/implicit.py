"""Outer gradients from the point where the inner loop ends, whatever the way there."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError, QuickstudyWarning
from quickstudy.inner.loop import AbstractLoop, InnerLoop, LossAt, check_can_differentiate
from quickstudy.inner.recompute import refuse_what_would_be_lost
from quickstudy.inner.rules import AbstractRule, Params


class ImplicitLoop(AbstractLoop):
    """φ* = argmin L(φ) + λ/2 |φ − θ|², and its derivative by the implicit function theorem: dφ*/dθ
    = (I + H/λ)⁻¹, H the Hessian of L at φ*.

    The inner loop is run without a graph, so its memory does not depend on the number of steps. The
    inverse is applied by conjugate gradients, task by task. The outer gradient is the true one
    where the loop has converged and I + H/λ is positive definite; where either is not so, the first
    outer step that meets it warns, with its number and with the one that was asked for.

    Args:
        rule: how the minimum is looked for.
        steps: how many steps.
        strength: λ.
        cg_steps: iterations of conjugate gradients; those of a task stop changing when its residual
            is nothing.
        damping: the inverse is that of (1 + shift) I + H/(λ + damping); an indefinite H needs it.
        shift: see there.
        tolerance: how large ‖∇L(φ) + λ(φ − θ)‖ over ‖∇L(φ)‖ + ‖λ(φ − θ)‖ may be, of any task. It
            is 0 at a minimum and 1 at the start.

    Raises:
        ConfigError: for numbers out of range.

    Warns:
        UserWarning: where the inner loop has not converged, or the curvature is not positive.
    """

    exact = False

    def __init__(
        self,
        rule: AbstractRule,
        *,
        steps: int,
        strength: float,
        cg_steps: int = 5,
        damping: float = 0.0,
        shift: float = 0.0,
        tolerance: float = 0.4,
    ) -> None:
        super().__init__()
        if not strength > 0 or cg_steps < 1:
            raise ConfigError(
                f"strength must be above 0 and cg_steps at least 1, got {strength} and {cg_steps}."
            )
        if damping < 0 or shift < 0 or not tolerance > 0:
            raise ConfigError(
                "damping and shift cannot be negative and tolerance is above 0, got "
                f"{damping}, {shift} and {tolerance}."
            )
        self.rule, self.strength, self.cg_steps = rule, strength, cg_steps
        self.damping, self.shift, self.tolerance = damping, shift, tolerance
        self._warned = set[str]()
        self._loop = InnerLoop(rule, steps=steps, first_order=True)

    @property
    def steps(self) -> int:
        return self._loop.steps

    def run(
        self, params: Params, loss_at: LossAt, *, given: Iterable[Tensor] = ()
    ) -> dict[str, Tensor]:
        check_can_differentiate(params)
        with torch.no_grad():
            found = self._loop.run(params, self._drawn_back(params, loss_at))
        if not torch.is_grad_enabled():
            return found
        names, last = list(params), max(self.steps, 1) - 1

        def losses(at: Sequence[Tensor]) -> Tensor:
            return loss_at(dict(zip(names, at, strict=True)), last)

        others = [t for t in given if t.requires_grad]
        tensors = (*params.values(), *(found[n] for n in names), *others)
        return dict(
            zip(
                names,
                _Implicit.apply(losses, self, len(names), *tensors),
                strict=True,
            )
        )  # type: ignore[arg-type]

    def path(
        self, params: Params, loss_at: LossAt, *, steps: int | None = None
    ) -> list[dict[str, Tensor]]:
        """The parameters after each step, without a graph: the theorem speaks of the end alone."""
        check_can_differentiate(params)
        with torch.no_grad():
            return self._loop.path(params, self._drawn_back(params, loss_at), steps=steps)

    def check(self, residual: Tensor, bend: Tensor) -> None:
        """Warn, once of each kind, where the theorem does not hold.

        Args:
            residual: of each task, see ``tolerance``.
            bend: the smallest curvature of each task that conjugate gradients met, of the matrix
                that they solve with.
        """
        largest, smallest = float(residual.max()), float(bend.min())
        if largest > self.tolerance and "residual" not in self._warned:
            self._warned.add("residual")
            warnings.warn(
                f"The inner loop of iMAML has not converged: after {self.steps} steps the residual "
                f"is {largest:.2g}, {self.tolerance:.2g} was asked for. The outer gradient is that "
                "of a minimum that was not reached. Take more inner_steps, a smaller inner_lr if "
                f"they diverge, or a strength above {self.strength:g}.",
                QuickstudyWarning,
                stacklevel=2,
            )
        if smallest < 0 and "curvature" not in self._warned:
            self._warned.add("curvature")
            warnings.warn(
                "Conjugate gradients of iMAML met a curvature of "
                f"{smallest:.2g}, above 0 is needed: this is no minimum. Take a strength above "
                f"{self.strength:g}, or a damping above {self.damping:g}.",
                QuickstudyWarning,
                stacklevel=2,
            )

    def _drawn_back(self, params: Params, loss_at: LossAt) -> LossAt:
        home = {n: p.detach() for n, p in params.items()}

        def losses(at: Params, j: int) -> Tensor:
            of_tasks = loss_at(at, j)
            away = [(at[n] - home[n]).square().reshape(of_tasks.numel(), -1).sum(1) for n in home]
            return of_tasks + self.strength / 2 * torch.stack(away).sum(0).view_as(of_tasks)

        return losses


class _Implicit(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        losses: Callable[[Sequence[Tensor]], Tensor],
        loop: ImplicitLoop,
        n: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.losses, ctx.loop, ctx.n = losses, loop, n
        found = tensors[n : 2 * n]
        with torch.enable_grad():
            at = [p.detach().requires_grad_() for p in found]
            refuse_what_would_be_lost([losses(at)], [*at, *tensors[2 * n :]])
        ctx.save_for_backward(*tensors)
        return tuple(p.clone() for p in found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        n, loop = ctx.n, ctx.loop
        start, found = ctx.saved_tensors[:n], ctx.saved_tensors[n : 2 * n]
        others = list(ctx.saved_tensors[2 * n :])
        with torch.enable_grad():
            at = [p.detach().requires_grad_() for p in found]
            losses = ctx.losses(at)
            slopes = torch.autograd.grad(
                losses.sum(), at, create_graph=True, allow_unused=True, materialize_grads=True
            )
        n_tasks = losses.numel()

        def curved(v: Sequence[Tensor]) -> list[Tensor]:
            products = torch.autograd.grad(
                slopes, at, grad_outputs=list(v), retain_graph=True, allow_unused=True
            )
            return [
                (1 + loop.shift) * a + (0 if hv is None else hv / (loop.strength + loop.damping))
                for a, hv in zip(v, products, strict=True)
            ]

        solved, bend = _conjugate_gradients(curved, list(grads), loop.cg_steps, n_tasks)
        away = [loop.strength * (p - q) for p, q in zip(found, start, strict=True)]
        slope, pull = _lengths(slopes, n_tasks), _lengths(away, n_tasks)
        off = _lengths([a + b for a, b in zip(slopes, away, strict=True)], n_tasks)
        loop.check(off.detach() / (slope + pull).detach().clamp_min(1e-30), bend)
        of_others: list[Tensor | None] = []
        if others:
            minus = [-v / loop.strength for v in solved]
            of_others = list(
                torch.autograd.grad(slopes, others, grad_outputs=minus, allow_unused=True)
            )
        return None, None, None, *solved, *([None] * n), *of_others


def _lengths(v: Sequence[Tensor], n_tasks: int) -> Tensor:
    return torch.cat([x.reshape(n_tasks, -1) for x in v], 1).norm(dim=1)


def _conjugate_gradients(
    matrix: Callable[[Sequence[Tensor]], list[Tensor]], b: list[Tensor], steps: int, n_tasks: int
) -> tuple[list[Tensor], Tensor]:
    """X with A x ≈ b, each task by itself, and the smallest curvature pᵀAp / pᵀp that was met.
    A direction of negative curvature is gone along as one of positive curvature is.
    """

    def dot(u: Sequence[Tensor], v: Sequence[Tensor]) -> Tensor:
        return torch.stack(
            [(x * y).reshape(n_tasks, -1).sum(1) for x, y in zip(u, v, strict=True)]
        ).sum(0)  # [T]

    def along(u: Sequence[Tensor], rate: Tensor, v: Sequence[Tensor]) -> list[Tensor]:
        return [
            x + (y.reshape(n_tasks, -1) * rate[:, None]).view_as(y)
            for x, y in zip(u, v, strict=True)
        ]

    x, r = [torch.zeros_like(t) for t in b], list(b)
    p, size = r, dot(r, r)
    least = torch.full_like(size, torch.inf)
    for _ in range(steps):
        curved = matrix(p)
        bend, long = dot(p, curved), dot(p, p)
        going = (size > 1e-20) & (bend != 0)
        least = torch.where(going, torch.minimum(least, bend / long.clamp_min(1e-38)), least)
        rate = torch.where(going, size / bend.where(going, torch.ones_like(bend)), 0.0)
        x, r = along(x, rate, p), along(r, -rate, curved)
        new = dot(r, r)
        p = along(
            r,
            torch.where(
                size > 0, new / size.where(size > 0, torch.ones_like(size)), torch.zeros_like(size)
            ),
            p,
        )
        size = new
    return x, least
