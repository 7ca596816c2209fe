"""Inner steps whose graphs are built twice instead of kept."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states

from quickstudy.core.errors import ConfigError

Step: TypeAlias = Callable[[int, Sequence[Tensor], bool], list[Tensor]]


def recomputed(
    step: Step, n: int, start: Sequence[Tensor], given: Sequence[Tensor]
) -> list[Tensor]:
    """``n`` steps from ``start``; only the parameters between them are kept for the backward pass.

    With λ the gradient of the outer loss for the parameters after a step, the step's backward
    builds its graph again and takes one Hessian-vector product: λ ← λ + λᵀ ∂update/∂θ, and likewise
    for what is ``given``. Exact.

    Args:
        step: ``step(j, parameters, create_graph)``, the parameters after step j.
        given: what else the steps depend on. Tensors that need no gradient are allowed.

    Raises:
        ConfigError: when a step depends on a leaf that needs a gradient and is not given: its
            gradient would be lost in silence.
    """
    now, others = list(start), [t for t in given if t.requires_grad]
    for j in range(n):
        now = list(_Recomputed.apply(step, j, len(now), *now, *others))  # type: ignore[arg-type]
    return now


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: Step, j: int, n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.step, ctx.j, ctx.n = step, j, n
        ctx.save_for_backward(*tensors)
        ctx.rng, ctx.devices = torch.get_rng_state(), get_device_states(*tensors)
        with torch.enable_grad():
            begin = [p.detach().requires_grad_() for p in tensors[:n]]
            # the first step keeps its graph for a moment, to look at what it depends on
            after = step(j, begin, j == 0)
            if j == 0:
                refuse_what_would_be_lost(after, [*begin, *tensors[n:]])
        return tuple(p.detach() for p in after)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        with torch.random.fork_rng(ctx.devices[0]), torch.enable_grad():
            torch.set_rng_state(ctx.rng)
            set_device_states(*ctx.devices)
            begin = [p.detach().requires_grad_() for p in tensors[: ctx.n]]
            after = ctx.step(ctx.j, begin, True)
            got = torch.autograd.grad(after, [*begin, *tensors[ctx.n :]], grads, allow_unused=True)
        return None, None, None, *got


def refuse_what_would_be_lost(after: Sequence[Tensor], known: Sequence[Tensor]) -> None:
    """Raise `ConfigError` when ``after`` depends on leaves that need a gradient and are neither
    ``known`` nor behind what is.
    """
    leaves = {id(t) for t in known}
    todo, lost = [p.grad_fn for p in after if p.grad_fn is not None], []
    seen = {t.grad_fn for t in known if t.grad_fn is not None}
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in leaves:
            lost.append(tuple(leaf.shape))
        todo += [following for following, _ in node.next_functions if following is not None]
    if lost:
        raise ConfigError(
            f"An inner step whose graph is built again depends on {len(lost)} parameters that are "
            f"not among `given` (shapes {lost[:3]}), and their "
            "outer gradient would be lost. Name them in run(..., given=...), or use an InnerLoop "
            "with recompute=False."
        )
