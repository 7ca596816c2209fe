"""3×3 convolutions whose second derivative costs what it must."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.kernels.backends import chosen
from quickstudy.kernels.block import channels_first, pixels_first
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
    and backward kernels as ordinary training. In float32 on a CPU with numba, where the channels
    fill vectors, they are those of `quickstudy.kernels.winograd`, else torch's. The third
    derivative raises; where it is needed, take ``backend("plain")``.

    >>> convolve(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 3, 3))[0, 0, 1, 1].item()
    9.0
    """
    if chosen(x) == "plain":
        return F.conv2d(x, weight, stride=stride, padding=1, groups=groups)
    return cast("Tensor", _Convolution.apply(x, weight, kind_for(x, weight, stride, groups)))


def kind_for(x: Tensor, weight: Tensor, stride: int = 1, groups: int = 1) -> "Direct":
    """The kernels that serve these images and this weight."""
    if chosen(x) == "numba" and stride == groups == 1:
        from quickstudy.kernels import winograd

        if winograd.fits(x, weight):
            return _Winograd(stride, groups)
    return Direct(stride, groups)


def has_kernels(weight: Tensor) -> bool:
    """Whether convolutions by a weight ``[O I 3 3]`` are those of `quickstudy.kernels.winograd`."""
    return isinstance(kind_for(weight, weight), _Winograd)  # it has the channels of its images


class Direct:
    """torch's kernels."""

    def __init__(self, stride: int, groups: int) -> None:
        self._stride, self._groups = stride, groups

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, stride=self._stride, padding=1, groups=self._groups)

    def forward_sum(self, x: Tensor, weight: Tensor, more: Tensor, more_weight: Tensor) -> Tensor:
        """The sum of two convolutions."""
        return self.forward(x, weight).add_(self.forward(more, more_weight))

    def backward(
        self, dz: Tensor, x: Tensor, weight: Tensor, *, for_x: bool, for_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients for x and the weight, those that are wanted."""
        pairs = (self._stride, self._stride), (1, 1), (1, 1)
        return torch.ops.aten.convolution_backward(
            dz, x, weight, None, *pairs, False, (0, 0), self._groups, (for_x, for_weight, False)
        )[:2]


class _Winograd(Direct):
    """Those of `quickstudy.kernels.winograd`."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        from quickstudy.kernels import winograd

        return channels_first(winograd.convolution(pixels_first(x), pixels_first(weight)))

    def forward_sum(self, x: Tensor, weight: Tensor, more: Tensor, more_weight: Tensor) -> Tensor:
        from quickstudy.kernels import winograd

        return channels_first(
            winograd.convolution_sum(*map(pixels_first, (x, weight, more, more_weight)))
        )

    def backward(
        self, dz: Tensor, x: Tensor, weight: Tensor, *, for_x: bool, for_weight: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        from quickstudy.kernels import winograd

        above, dx, dw = pixels_first(dz), None, None
        if for_x:
            dx = channels_first(winograd.pixel_gradient(above, pixels_first(weight)))
        if for_weight:
            dw = channels_first(winograd.weight_gradient(above, pixels_first(x)))
        return dx, dw


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kind: Direct) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.kind = kind
        # One layout of the weight: another would round otherwise, and what was saved and loaded
        # again answers to the bit. With one channel
        # going in, every layout counts as contiguous.
        one = weight.shape[1] == 1
        weight = (
            weight.clone(memory_format=torch.channels_last)
            if one
            else weight.contiguous(memory_format=torch.channels_last)
        )
        return kind.forward(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        return (*_Gradient.apply(grads[0], x, weight, ctx.kind, ctx.needs_input_grad[0]), None)


class _Gradient(torch.autograd.Function):
    """The backward of a convolution as an operation of its own."""

    @staticmethod
    def forward(
        ctx: Any, dz: Tensor, x: Tensor, weight: Tensor, kind: Direct, want_x: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        # Where no gradient goes on to x, nothing of the second derivative depends on dz.
        ctx.save_for_backward(dz if want_x else None, x, weight)
        ctx.kind, ctx.want_x = kind, want_x
        ctx.set_materialize_grads(False)
        return kind.backward(dz, x, weight, for_x=want_x, for_weight=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kind: Direct = ctx.kind

        def twice(
            g_dx: Tensor | None, g_dw: Tensor | None, dz: Tensor | None, x: Tensor, weight: Tensor
        ) -> tuple[Tensor | None, ...]:
            h_dz = h_x = h_weight = None
            # dx is linear in dz and in the weight, dw in dz and in x
            if g_dx is not None and dz is not None:
                _, h_weight = kind.backward(dz, g_dx, weight, for_x=False, for_weight=True)
                if g_dw is None:
                    h_dz = kind.forward(g_dx, weight)
                else:
                    h_dz = kind.forward_sum(g_dx, weight, x, g_dw)
            elif g_dw is not None:
                h_dz = kind.forward(x, g_dw)
            if g_dw is not None and dz is not None:
                h_x, _ = kind.backward(dz, x, g_dw, for_x=True, for_weight=False)
            return h_dz, h_x, h_weight

        return (*last_derivative(twice, *grads, *ctx.saved_tensors), None, None)
