"""The fused block in stock torch operations: any device, float32 and float64.

Tensors are ``[N H W C]``, contiguous. With p the extreme of each 2×2 window, ẑ = (z − μ)·r, r =
1/√(σ² + ε), M = N·H·W and u = dy where y > 0:

- y = max(0, γ·r·(p − μ) + β)
- Sᵦ = Σ u,  Sᵧ = Σ u·p̂,  dz = γ·r·(scatter(u) − Sᵦ/M − ẑ·Sᵧ/M),  dγ = Sᵧ,  dβ = Sᵦ

The double backward differentiates the second line by hand. A flat index with ``index_select`` and
``scatter_add_``, and ``native_batch_norm_backward`` for the sums, halve its time.
"""

from typing import TypeAlias

import torch
from torch import Tensor

from quickstudy.core.recording import is_traced

# p [N h w C], the winners' places, μ [C], r [C]
Saved: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]
_aten = torch.ops.aten


def forward(z: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Saved]:
    """Y ``[N h w C]`` and what the backward needs."""
    n, height, width, c = z.shape
    if z.is_cuda:
        var, mean = torch.var_mean(z, (0, 1, 2), correction=0)
    else:
        mean, var = _aten.batch_norm_update_stats(_image(z), None, None, 0.0)
    rstd = torch.rsqrt(var + eps)
    # Where γ < 0 the largest γ·z is the smallest z. Asking a GPU whether there is any would wait
    # for it, and a recorded step holds for other γ too.
    sign = (
        torch.where(gamma < 0, -1.0, 1.0).to(z.dtype)
        if z.is_cuda or is_traced() or bool((gamma < 0).any())
        else None
    )
    pooled, index = _aten.max_pool2d_with_indices(
        _image(z if sign is None else z * sign), (2, 2), (2, 2)
    )
    pooled = pooled.permute(0, 2, 3, 1)
    extreme = (pooled if sign is None else pooled * sign).contiguous()
    scale = gamma * rstd
    first = torch.arange(c, device=z.device) + torch.arange(n, device=z.device).view(n, 1, 1, 1) * (
        height * width * c
    )
    place = torch.add(first, index.permute(0, 2, 3, 1), alpha=c).reshape(-1)  # in the flat z
    return torch.addcmul(beta - mean * scale, extreme, scale).relu_(), (extreme, place, mean, rstd)


def backward(
    dy: Tensor, z: Tensor, gamma: Tensor, y: Tensor, saved: Saved
) -> tuple[Tensor, Tensor, Tensor]:
    """dz, dγ, dβ."""
    p, place, mean, rstd = saved
    m, k = z.numel() // z.shape[3], gamma * rstd
    u = _aten.threshold_backward(dy, y, 0)
    s_beta, s_gamma = _sums(u, p, gamma, mean, rstd)
    dz = torch.addcmul(-(k / m) * (s_beta - rstd * mean * s_gamma), z, -(k / m) * rstd * s_gamma)
    dz.view(-1).scatter_add_(0, place, u.mul_(k).view(-1))
    return dz, s_gamma, s_beta


def double_backward(
    g_dz: Tensor,
    g_dgamma: Tensor,
    g_dbeta: Tensor,
    dy: Tensor,
    z: Tensor,
    gamma: Tensor,
    y: Tensor,
    saved: Saved,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of ⟨dz, g_dz⟩ + ⟨dγ, g_dgamma⟩ + ⟨dβ, g_dbeta⟩ for dy, z and γ."""
    p, place, mean, rstd = saved
    m, k = z.numel() // z.shape[3], gamma * rstd
    u = _aten.threshold_backward(dy, y, 0)
    s_beta, s_gamma = _sums(u, p, gamma, mean, rstd)
    g_beta, g_gamma = _sums(g_dz, z, gamma, mean, rstd)
    g_p = g_dz.view(-1).index_select(0, place).view(y.shape)
    inner = (u * g_p).view(-1, y.shape[3]).sum(0) - (s_beta * g_beta + s_gamma * g_gamma) / m
    c1 = -(k / m) * s_gamma
    c2 = g_dgamma - (k / m) * g_gamma
    cz = -(rstd / m) * (c1 * g_gamma + c2 * s_gamma) - gamma * inner * rstd * rstd / m
    c0 = -(rstd / m) * (c1 * g_beta + c2 * s_beta) - cz * rstd * mean
    h_z = torch.addcmul(c0, z, cz * rstd).addcmul_(g_dz, rstd * c1)
    h_z.view(-1).scatter_add_(0, place, u.mul_(rstd * c2).view(-1))
    h_dy = torch.addcmul(g_dbeta - (k / m) * g_beta - c2 * rstd * mean, g_p, k).addcmul_(
        p, c2 * rstd
    )
    return _aten.threshold_backward(h_dy, y, 0), h_z, rstd * inner


def _image(t: Tensor) -> Tensor:
    return t.permute(0, 3, 1, 2)


def _sums(a: Tensor, b: Tensor, gamma: Tensor, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor]:
    """Σ a and Σ a·(b − μ)·r of each channel."""
    _, s_gamma, s_beta = _aten.native_batch_norm_backward(
        _image(a), _image(b), gamma, None, None, mean, rstd, True, 0.0, (False, True, True)
    )
    return s_beta, s_gamma
