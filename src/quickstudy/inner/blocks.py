"""Functions of independent columns, a block of columns at a time."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ColumnsFunction: TypeAlias = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[Tensor, ...]]

# of columns of some hundred numbers: as fast as all at once, with less than half of the memory
# (measured 2026-11 on a Conv4 of 112,000 weights; 512 take three times as long)
_BLOCK = 8_192


def by_blocks(
    function: ColumnsFunction,
    columns: Sequence[Tensor],
    weights: Sequence[Tensor],
    *,
    block: int = _BLOCK,
) -> tuple[Tensor, ...]:
    """``function(columns, weights)``, where each column of the results depends on the same column
    of ``columns`` alone.

    What is between is not kept but computed again in the backward pass, which so takes the memory
    of one block. Few columns are taken at once, with their graph. The gradient of several blocks
    cannot be differentiated again.

    Args:
        function: of columns and weights.
        columns: tensors ``[· n]`` with one column for each independent thing.
        weights: what all columns share.
        block: how many columns at a time.
    """
    if columns[0].shape[1] <= block:
        return function(columns, weights)
    answer: Any = _ByBlocks.apply(function, block, len(columns), *columns, *weights)
    return answer


class _ByBlocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: ColumnsFunction, block: int, n: int, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.function, ctx.block, ctx.n = function, block, n
        ctx.save_for_backward(*tensors)
        columns, weights = tensors[:n], tensors[n:]
        parts = [
            function([r[:, at : at + block] for r in columns], weights)
            for at in range(0, columns[0].shape[1], block)
        ]
        return tuple(torch.cat(of_one, 1) for of_one in zip(*parts, strict=True))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator's signature
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        n, needed = ctx.n, ctx.needs_input_grad[3:]
        tensors = [
            t.detach().requires_grad_(need)
            for t, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        columns, weights = tensors[:n], tensors[n:]
        found: list[Tensor | None] = [
            torch.empty_like(r) if need else None for r, need in zip(columns, needed, strict=False)
        ]
        found += [torch.zeros_like(w) if w.requires_grad else None for w in weights]
        for at in range(0, columns[0].shape[1], ctx.block):
            part = (slice(None), slice(at, at + ctx.block))
            begin = [r.detach()[part].requires_grad_(r.requires_grad) for r in columns]
            with torch.enable_grad():
                out = ctx.function(begin, weights)
            asked = [(k, t) for k, t in enumerate((*begin, *weights)) if t.requires_grad]
            got = torch.autograd.grad(
                out, [t for _, t in asked], [g[part] for g in grads], materialize_grads=True
            )
            for (k, _), g in zip(asked, got, strict=True):
                whole = found[k]
                assert whole is not None
                if k < n:
                    whole[part] = g
                else:
                    whole += g
        return None, None, None, *found
