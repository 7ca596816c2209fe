"""The first convolution and its fused block, on images of several channels: the convolution's
output, by far the largest tensor, is never whole.

It is computed a few images at a time, while they are in the cache, and once more in the backward
pass: with few channels going in, that costs less than to write it to memory and read it again.
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from quickstudy.core.recording import recordable
from quickstudy.kernels.block import channels_first, pixels_first
from quickstudy.kernels.convolution import kind_for
from quickstudy.kernels.last import last_derivative

_BYTES = 2**22  # of the convolution's output at a time: about a core's share of the cache


def colour_block(
    x: Float[Tensor, "N I H W"],
    weight: Float[Tensor, "C I 3 3"],
    gamma: Float[Tensor, " C"] | None,
    beta: Float[Tensor, " C"] | None,
    eps: float,
) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, " C"], Float[Tensor, " C"]]:
    """As `norm_relu_pool` of the 3×3 convolution of x, without keeping the convolution's output.

    The images get no gradient. Needs numba.
    """
    scale = weight.new_ones(weight.shape[0]) if gamma is None else gamma.contiguous()
    shift = weight.new_zeros(weight.shape[0]) if beta is None else beta.contiguous()
    images = x.contiguous(memory_format=torch.channels_last)
    return cast("tuple[Tensor, Tensor, Tensor]", _Colour.apply(weight, scale, shift, eps, images))


def _parts(x: Tensor, weight: Tensor) -> list[slice]:
    """Which images are taken together."""
    n = max(1, _BYTES // (weight.shape[0] * x.shape[2] * x.shape[3] * x.element_size()))
    return [slice(at, at + n) for at in range(0, len(x), n)]


def _convolved(x: Tensor, weight: Tensor) -> Tensor:
    """``[N H W C]``."""
    from quickstudy.kernels import narrow

    if narrow.fits(x, weight):
        return narrow.convolution(pixels_first(x), pixels_first(weight))
    return pixels_first(kind_for(x, weight).forward(x, weight))


def _weight_gradient(dz: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    from quickstudy.kernels import narrow

    if narrow.fits(x, weight):
        return channels_first(narrow.weight_gradient(dz, pixels_first(x)))
    above = channels_first(dz)
    _, dw = kind_for(x, weight).backward(above, x, weight, for_x=False, for_weight=True)
    assert dw is not None
    return dw


class _Colour(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, gamma: Tensor, beta: Tensor, eps: float, x: Tensor
    ) -> tuple[Tensor, ...]:
        y, p, winner, mean, rstd = _forward(x, weight, gamma, beta, eps)
        ctx.save_for_backward(weight, gamma, x, y, p, winner, mean, rstd)
        mean, rstd = mean.clone(), rstd.clone()
        ctx.mark_non_differentiable(mean, rstd)
        return channels_first(y), mean, rstd

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*_ColourBackward.apply(grads[0], *ctx.saved_tensors), None, None)


class _ColourBackward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dy: Tensor, weight: Tensor, gamma: Tensor, *fixed: Tensor
    ) -> tuple[Tensor, ...]:
        dw, dgamma, dbeta = _backward(pixels_first(dy), weight, gamma, *fixed)
        ctx.save_for_backward(dy, weight, gamma, *fixed)
        return dw, dgamma, dbeta

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        from quickstudy.kernels import compiled

        dy, weight, gamma, x, y, *saved = ctx.saved_tensors

        def twice(
            g_dw: Tensor,
            g_dgamma: Tensor,
            g_dbeta: Tensor,
            dy: Tensor,
            weight: Tensor,
            gamma: Tensor,
        ) -> Any:
            z, g_dz = _convolved(x, weight), _convolved(x, g_dw)
            above = g_dz, g_dgamma.contiguous(), g_dbeta.contiguous()
            h_dy, h_z, h_gamma = compiled.double_backward(
                *above, pixels_first(dy), z, gamma, y, tuple(saved)
            )
            return channels_first(h_dy), _weight_gradient(h_z, x, weight), h_gamma

        return (*last_derivative(twice, *grads, dy, weight, gamma), *(None for _ in range(6)))


@recordable
def _forward(
    x: Tensor, weight: Tensor, gamma: Tensor, beta: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, p, the winners, μ and r."""
    from quickstudy.kernels import compiled, narrow

    y = x.new_empty(x.shape[0], x.shape[2] // 2, x.shape[3] // 2, weight.shape[0])
    p = torch.empty_like(y)
    winner = y.new_empty(y.shape, dtype=torch.uint8)
    mean = torch.empty_like(gamma)
    rstd = torch.empty_like(gamma)
    if narrow.fits(x, weight):
        shift, d1, d2 = narrow.measure(pixels_first(x), pixels_first(weight), gamma, p, winner)
    else:
        shift, d1, d2 = torch.empty_like(gamma), *torch.zeros(2, len(gamma), dtype=torch.float64)
        for part in _parts(x, weight):
            z = _convolved(x[part], weight)
            if part.start == 0:
                shift.copy_(z[0, 0, 0])
            compiled.measure(*compiled.arrays(z, gamma, shift, d1, d2, p[part], winner[part]))
    m = float(x.shape[0] * x.shape[2] * x.shape[3])
    compiled.conclude(
        m, *compiled.arrays(gamma, beta), eps, *compiled.arrays(shift, d1, d2, p, y, mean, rstd)
    )
    return y, p, winner, mean, rstd


@recordable
def _backward(
    dy: Tensor,
    weight: Tensor,
    gamma: Tensor,
    x: Tensor,
    y: Tensor,
    p: Tensor,
    winner: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """dw, dγ and dβ."""
    from quickstudy.kernels import compiled, narrow

    dgamma, dbeta, k, c0, c1 = (torch.empty_like(gamma) for _ in range(5))
    m = float(x.shape[0] * x.shape[2] * x.shape[3])
    compiled.gradients(m, *compiled.arrays(dy, gamma, y, p, mean, rstd, dgamma, dbeta, k, c0, c1))
    if narrow.fits(x, weight):
        images, filters = pixels_first(x), pixels_first(weight)
        dw = channels_first(narrow.differentiate(images, filters, dy, y, winner, (k, c0, c1)))
        return dw, dgamma, dbeta
    dw = torch.zeros_like(weight)
    for part in _parts(x, weight):
        z = _convolved(x[part], weight)
        # not in place: the compiler's vector code wants arrays that do not overlap
        dz = torch.empty_like(z)
        compiled.spread(*compiled.arrays(dy[part], z, y[part], winner[part], k, c0, c1, dz))
        dw += _weight_gradient(dz, x[part], weight)
    return dw, dgamma, dbeta
