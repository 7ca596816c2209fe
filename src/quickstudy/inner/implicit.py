"""Outer gradients from the point where the inner loop ends, whatever the way there."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from quickstudy.core.errors import ConfigError
from quickstudy.inner.loop import AbstractLoop, InnerLoop, LossAt, check_can_differentiate
from quickstudy.inner.recompute import refuse_what_would_be_lost
from quickstudy.inner.rules import AbstractRule, Params


class ImplicitLoop(AbstractLoop):
    """φ* = argmin L(φ) + λ/2 |φ − θ|², and its derivative by the implicit function theorem: dφ*/dθ
    = (I + H/λ)⁻¹, H the Hessian of L at φ*.

    The inner loop is run without a graph, so its memory does not depend on the number of steps. The
    inverse is applied by conjugate gradients, task by task. The outer gradient is the true one
    where the loop has converged.

    Args:
        rule: how the minimum is looked for.
        steps: how many steps.
        strength: λ.
        cg_steps: iterations of conjugate gradients; those of a task stop changing when its residual
            is nothing.
    """

    exact = False

    def __init__(
        self, rule: AbstractRule, *, steps: int, strength: float, cg_steps: int = 5
    ) -> None:
        super().__init__()
        if not strength > 0 or cg_steps < 1:
            raise ConfigError(
                f"strength must be above 0 and cg_steps at least 1, got {strength} and {cg_steps}."
            )
        self.rule, self.strength, self.cg_steps = rule, strength, cg_steps
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
                _Implicit.apply(losses, self.strength, self.cg_steps, len(names), *tensors),
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
        strength: float,
        cg_steps: int,
        n: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.losses, ctx.strength, ctx.cg_steps, ctx.n = losses, strength, cg_steps, n
        found = tensors[n : 2 * n]
        with torch.enable_grad():
            at = [p.detach().requires_grad_() for p in found]
            refuse_what_would_be_lost([losses(at)], [*at, *tensors[2 * n :]])
        ctx.save_for_backward(*tensors[n:])
        return tuple(p.clone() for p in found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found, others = ctx.saved_tensors[: ctx.n], list(ctx.saved_tensors[ctx.n :])
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
                a if hv is None else a + hv / ctx.strength
                for a, hv in zip(v, products, strict=True)
            ]

        solved = _conjugate_gradients(curved, list(grads), ctx.cg_steps, n_tasks)
        of_others: list[Tensor | None] = []
        if others:
            minus = [-v / ctx.strength for v in solved]
            of_others = list(
                torch.autograd.grad(slopes, others, grad_outputs=minus, allow_unused=True)
            )
        return None, None, None, None, *solved, *([None] * ctx.n), *of_others


def _conjugate_gradients(
    matrix: Callable[[Sequence[Tensor]], list[Tensor]], b: list[Tensor], steps: int, n_tasks: int
) -> list[Tensor]:
    """X with A x ≈ b, each task by itself."""

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
    for _ in range(steps):
        curved = matrix(p)
        bend = dot(p, curved)
        rate = torch.where(
            bend > 0, size / bend.where(bend > 0, torch.ones_like(bend)), torch.zeros_like(bend)
        )
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
    return x
