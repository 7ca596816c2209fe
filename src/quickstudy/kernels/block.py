"""Batch normalisation, ReLU and 2×2 max-pooling as one operation that can be differentiated
twice.
"""

from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from quickstudy.kernels import stock
from quickstudy.kernels.backends import chosen
from quickstudy.kernels.last import last_derivative


def norm_relu_pool(
    z: Float[Tensor, "N C H W"],
    weight: Float[Tensor, " C"] | None,
    bias: Float[Tensor, " C"] | None,
    eps: float,
) -> tuple[Float[Tensor, "N C h w"], Float[Tensor, " C"], Float[Tensor, " C"]]:
    """max_pool2d(relu(batch_norm(z)), 2) with the statistics of ``z``; also these, the mean and
    1/√(variance + eps), without a gradient.

    The normalised image is never stored, and each pass reads the convolution's output once. An odd
    last row or column counts in the statistics but not in the pooling, and a tie goes to the first
    element, as in torch. The third derivative raises; where it is needed, take
    ``backend("plain")``.

    Args:
        z: output of a convolution, best in channels_last.
        weight, bias: γ and β; None is 1 and 0.

    >>> y, mean, _ = norm_relu_pool(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), None, None, 0.0)
    >>> round(y.item(), 3), mean.item()  # (6 − 3) / √3.5
    (1.604, 3.0)
    """
    gamma = z.new_ones(z.shape[1]) if weight is None else weight.contiguous()
    beta = z.new_zeros(z.shape[1]) if bias is None else bias.contiguous()
    name = chosen(z)
    if name == "plain":
        return _plain(z, gamma, beta, eps)
    return cast("tuple[Tensor, Tensor, Tensor]", _Block.apply(z, gamma, beta, eps, _backend(name)))


def _plain(z: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    y = F.max_pool2d(F.relu(F.batch_norm(z, None, None, gamma, beta, True, 0.0, eps)), 2)
    var, mean = torch.var_mean(z.detach(), (0, 2, 3), correction=0)
    return y, mean, torch.rsqrt(var + eps)


def _backend(name: str) -> ModuleType:
    if name == "torch":
        return stock
    from quickstudy.kernels import compiled

    return compiled


def pixels_first(t: Tensor) -> Tensor:
    """``[N C H W]`` to ``[N H W C]``, contiguous: no copy where the memory is channels_last."""
    return t.permute(0, 2, 3, 1).contiguous()


def channels_first(t: Tensor) -> Tensor:
    """``[N H W C]`` to ``[N C H W]``, a view."""
    return t.permute(0, 3, 1, 2)


class _Block(torch.autograd.Function):
    """z ``[N C H W]`` to y ``[N C h w]``, μ and r."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, gamma: Tensor, beta: Tensor, eps: float, backend: ModuleType
    ) -> tuple[Tensor, Tensor, Tensor]:
        flat = pixels_first(z)
        y, saved = backend.forward(flat, gamma, beta, eps)
        ctx.backend = backend
        ctx.save_for_backward(z, gamma, y, *saved)
        mean, rstd = saved[-2].clone(), saved[-1].clone()
        ctx.mark_non_differentiable(mean, rstd)
        return channels_first(y), mean, rstd

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, gamma, *saved = ctx.saved_tensors
        return (*_Backward.apply(ctx.backend, grads[0], z, gamma, *saved), None, None)


class _Backward(torch.autograd.Function):
    """The backward of `_Block` as an operation of its own, so that it can be differentiated once
    more.
    """

    @staticmethod
    def forward(
        ctx: Any,
        backend: ModuleType,
        dy: Tensor,
        z: Tensor,
        gamma: Tensor,
        y: Tensor,
        *saved: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.backend = backend
        ctx.save_for_backward(dy, z, gamma, y, *saved)
        dz, dgamma, dbeta = backend.backward(pixels_first(dy), pixels_first(z), gamma, y, saved)
        return channels_first(dz), dgamma, dbeta

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dy, z, gamma, y, *saved = ctx.saved_tensors

        def twice(
            g_dz: Tensor, g_dgamma: Tensor, g_dbeta: Tensor, dy: Tensor, z: Tensor, gamma: Tensor
        ) -> Any:
            above = pixels_first(g_dz), g_dgamma.contiguous(), g_dbeta.contiguous()
            h_dy, h_z, h_gamma = ctx.backend.double_backward(
                *above, pixels_first(dy), pixels_first(z), gamma, y, tuple(saved)
            )
            return channels_first(h_dy), channels_first(h_z), h_gamma

        return (None, *last_derivative(twice, *grads, dy, z, gamma), None, *(None for _ in saved))
