"""3×3 convolutions whose second derivative costs what it must."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.kernels.backends import chosen
from quickstudy.kernels.last import last_derivative


def convolve(
    x: Float[Tensor, "N I H W"],
    weight: Float[Tensor, "O J 3 3"],
    *,
    stride: int = 1,
    groups: int = 1,
) -> Float[Tensor, "N O h w"]:
    """A 3×3 convolution with padding 1 and no bias, as `torch.nn.functional.conv2d`.

    torch's own double backward rearranges its tensors at every call; this one runs the same forward
    and backward kernels as ordinary training. The third derivative raises; where it is needed, take
    ``backend("plain")``.

    >>> convolve(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))[0, 0, 1, 1].item()
    9.0
    """
    if chosen(x) == "plain":
        return F.conv2d(x, weight, stride=stride, padding=1, groups=groups)
    return cast("Tensor", _Convolution.apply(x, weight, stride, groups))


def _gradient(
    dz: Tensor, x: Tensor, weight: Tensor, stride: int, groups: int, want: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients for x and the weight, those that are wanted."""
    pairs = (stride, stride), (1, 1), (1, 1)
    return torch.ops.aten.convolution_backward(
        dz, x, weight, None, *pairs, False, (0, 0), groups, (*want, False)
    )[:2]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.how = stride, groups
        # One layout of the weight: another would round otherwise, and what was saved and loaded
        # again answers to the bit. With one channel
        # going in, every layout counts as contiguous.
        one = weight.shape[1] == 1
        weight = (
            weight.clone(memory_format=torch.channels_last)
            if one
            else weight.contiguous(memory_format=torch.channels_last)
        )
        return F.conv2d(x, weight, stride=stride, padding=1, groups=groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return (
            *_Gradient.apply(grads[0], x, weight, *ctx.how, ctx.needs_input_grad[0]),
            None,
            None,
        )


class _Gradient(torch.autograd.Function):
    """The backward of a convolution as an operation of its own."""

    @staticmethod
    def forward(
        ctx: Any, dz: Tensor, x: Tensor, weight: Tensor, stride: int, groups: int, want_x: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        # Where no gradient goes on to x, nothing of the second derivative depends on dz.
        ctx.save_for_backward(dz if want_x else None, x, weight)
        ctx.how, ctx.want_x = (stride, groups), want_x
        ctx.set_materialize_grads(False)
        return _gradient(dz, x, weight, stride, groups, (want_x, True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        stride, groups = ctx.how

        def twice(
            g_dx: Tensor | None, g_dw: Tensor | None, dz: Tensor | None, x: Tensor, weight: Tensor
        ) -> tuple[Tensor | None, ...]:
            h_dz = h_x = h_weight = None
            if g_dx is not None and dz is not None:  # dx is linear in dz and in the weight
                h_dz = F.conv2d(g_dx, weight, stride=stride, padding=1, groups=groups)
                h_weight = _gradient(dz, g_dx, weight, stride, groups, (False, True))[1]
            if g_dw is not None:  # dw is linear in dz and in x
                through_x = F.conv2d(x, g_dw, stride=stride, padding=1, groups=groups)
                h_dz = through_x if h_dz is None else h_dz.add_(through_x)
                h_x = (
                    _gradient(dz, x, g_dw, stride, groups, (True, False))[0]
                    if dz is not None
                    else None
                )
            return h_dz, h_x, h_weight

        return (*last_derivative(twice, *grads, *ctx.saved_tensors), None, None, None)
