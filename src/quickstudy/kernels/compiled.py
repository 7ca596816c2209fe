"""The fused block in numba: CPU, float32 and float64. The equations are those of `stock`.

Arrays are ``[N H W C]``, contiguous. Each pass runs over pixels, and its innermost loop over
channels: such a loop touches few arrays (LLVM vectorises only while few pairs of them could
overlap) and is inlined by numba (an array passed to a real call costs reference counting). Sums run
in the arrays' type within an image and in double over images. The lock of Python is released, so
that several threads work side by side; what was compiled is kept on disk. ``nnan`` is left out of
the fast mathematics: a NaN must stay one.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from quickstudy.core.recording import recordable
from quickstudy.kernels.compiling import tell_when_compiling

_FAST = {
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
}
tell_when_compiling()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call."""
    # unwrapped: run-time type checks, as in tests, cannot be compiled
    return njit(**_FAST)(inspect.unwrap(function))


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function into each that calls it."""
    return njit(inline="always", **_FAST)(inspect.unwrap(function))


def forward(
    z: Tensor, gamma: Tensor, beta: Tensor, eps: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Y ``[N h w C]`` and what the backward needs: p, the winner of each window (0 … 3), μ and
    r.
    """
    y, *saved = block_forward(z, gamma, beta, eps)
    return y, tuple(saved)


def backward(
    dy: Tensor, z: Tensor, gamma: Tensor, y: Tensor, saved: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """dz, dγ, dβ."""
    return block_backward(dy, z, gamma, y, *saved)


def double_backward(
    g_dz: Tensor,
    g_dgamma: Tensor,
    g_dbeta: Tensor,
    dy: Tensor,
    z: Tensor,
    gamma: Tensor,
    y: Tensor,
    saved: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of ⟨dz, g_dz⟩ + ⟨dγ, g_dgamma⟩ + ⟨dβ, g_dbeta⟩ for dy, z and γ."""
    return block_double_backward(g_dz, g_dgamma, g_dbeta, dy, z, gamma, y, *saved)


@recordable
def block_forward(
    z: Tensor, gamma: Tensor, beta: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y, p, the winners, μ and r."""
    n, height, width, c = z.shape
    y = z.new_empty(n, height // 2, width // 2, c)
    saved = (
        torch.empty_like(y),
        y.new_empty(y.shape, dtype=torch.uint8),
        z.new_empty(c),
        z.new_empty(c),
    )
    _forward(*arrays(z, gamma, beta, y, *saved), eps)
    return (y, *saved)


@recordable
def block_backward(
    dy: Tensor,
    z: Tensor,
    gamma: Tensor,
    y: Tensor,
    p: Tensor,
    winner: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """dz, dγ and dβ."""
    dz, dgamma, dbeta = torch.empty_like(z), torch.empty_like(gamma), torch.empty_like(gamma)
    _backward(*arrays(dy, z, gamma, y, p, winner, mean, rstd, dz, dgamma, dbeta))
    return dz, dgamma, dbeta


@recordable
def block_double_backward(
    g_dz: Tensor,
    g_dgamma: Tensor,
    g_dbeta: Tensor,
    dy: Tensor,
    z: Tensor,
    gamma: Tensor,
    y: Tensor,
    p: Tensor,
    winner: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients for dy, z and γ."""
    h_dy, h_z, h_gamma = torch.empty_like(dy), torch.empty_like(z), torch.empty_like(gamma)
    saved = p, winner, mean, rstd
    _double_backward(*arrays(g_dz, g_dgamma, g_dbeta, dy, z, gamma, y, *saved, h_dy, h_z, h_gamma))
    return h_dy, h_z, h_gamma


def arrays(*tensors: Tensor) -> list[np.ndarray]:
    """The tensors' memory as numpy arrays."""
    return [t.detach().numpy() if t.requires_grad else t.numpy() for t in tensors]


# --- one pixel or one window, all channels


@inlined
def _statistics2(a, b, shift, s1, s2):
    for c in range(len(shift)):
        x0, x1 = a[c] - shift[c], b[c] - shift[c]
        s1[c] += x0 + x1
        s2[c] += x0 * x0 + x1 * x1


@inlined
def _statistics1(a, shift, s1, s2):
    for c in range(len(shift)):
        x = a[c] - shift[c]
        s1[c] += x
        s2[c] += x * x


@inlined
def _extreme(p, winner, a, b, e, f, sign):
    """The largest of four after multiplication with a sign, and which: the first, where several
    are. Maximum first, then comparisons.
    """
    for c in range(len(p)):
        s = sign[c]
        x0, x1, x2, x3 = a[c] * s, b[c] * s, e[c] * s, f[c] * s
        m = max(max(x0, x1), max(x2, x3))
        p[c] = m * s
        k = np.uint8(2) if x2 == m else np.uint8(3)
        k = np.uint8(1) if x1 == m else k
        winner[c] = np.uint8(0) if x0 == m else k


@inlined
def rectified(u, d, y, factor):
    """U = factor · d where y > 0."""
    zero = u.dtype.type(0)
    for c in range(len(u)):
        u[c] = zero if y[c] <= 0 else d[c] * factor[c]


@inlined
def _add_sums(u, p, mean, a, b):
    for c in range(len(a)):
        a[c] += u[c]
        b[c] += u[c] * (p[c] - mean[c])


@inlined
def _add_product(s, x, y):
    for c in range(len(s)):
        s[c] += x[c] * y[c]


@inlined
def _spread(out, u, winner, place, c0, c1, z):
    zero = u.dtype.type(0)
    for c in range(len(u)):
        out[c] = c0[c] + c1[c] * z[c] + (u[c] if winner[c] == place else zero)


@inlined
def _spread_also(out, u, winner, place, c0, c1, z, c2, g):
    zero = u.dtype.type(0)
    for c in range(len(u)):
        out[c] = c0[c] + c1[c] * z[c] + c2[c] * g[c] + (u[c] if winner[c] == place else zero)


@inlined
def _outside(out, c0, c1, z):
    for c in range(len(out)):
        out[c] = c0[c] + c1[c] * z[c]


@inlined
def _outside_also(out, c0, c1, z, c2, g):
    for c in range(len(out)):
        out[c] = c0[c] + c1[c] * z[c] + c2[c] * g[c]


@inlined
def _take(out, winner, g0, g1, g2, g3):
    for c in range(len(out)):
        k = winner[c]
        v = g2[c] if k == 2 else g3[c]
        v = g1[c] if k == 1 else v
        out[c] = g0[c] if k == 0 else v


# --- whole passes


@kernel
def scale_shift_rectify(p, scale, shift, y):
    """Y = max(0, scale · p + shift)."""
    zero = y.dtype.type(0)
    for n in range(p.shape[0]):
        for i in range(p.shape[1]):
            for j in range(p.shape[2]):
                pp, yy = p[n, i, j], y[n, i, j]
                for c in range(len(scale)):
                    v = pp[c] * scale[c] + shift[c]
                    yy[c] = zero if v < 0 else v


@kernel
def sums(dy, y, p, mean, rstd, s_beta, s_gamma):
    """Σ u and Σ u·p̂ of each channel, u = dy where y > 0."""
    a, b, u, one = np.zeros_like(mean), np.zeros_like(mean), np.zeros_like(mean), np.ones_like(mean)
    s_beta[:] = 0
    s_gamma[:] = 0
    for n in range(y.shape[0]):
        a[:] = 0
        b[:] = 0
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                rectified(u, dy[n, i, j], y[n, i, j], one)
                _add_sums(u, p[n, i, j], mean, a, b)
        for c in range(len(mean)):
            s_beta[c] += a[c]
            s_gamma[c] += float(b[c]) * rstd[c]


@kernel
def measure(z, gamma, shift, d1, d2, p, winner):
    """Adds the sums of z − shift and of its squares to d1 and d2 (double), and fills the extremes
    of the windows and their places.
    """
    n_images, height, width, c_all = z.shape
    s1, s2, sign = np.zeros_like(shift), np.zeros_like(shift), np.ones_like(shift)
    for c in range(c_all):
        if gamma[c] < 0:
            sign[c] = -1
    for n in range(n_images):
        s1[:] = 0
        s2[:] = 0
        for i in range(height // 2):
            for j in range(width // 2):
                a = z[n, 2 * i, 2 * j]
                b = z[n, 2 * i, 2 * j + 1]
                e = z[n, 2 * i + 1, 2 * j]
                f = z[n, 2 * i + 1, 2 * j + 1]
                _statistics2(a, b, shift, s1, s2)
                _statistics2(e, f, shift, s1, s2)
                _extreme(p[n, i, j], winner[n, i, j], a, b, e, f, sign)
            if width % 2:
                _statistics2(z[n, 2 * i, width - 1], z[n, 2 * i + 1, width - 1], shift, s1, s2)
        if height % 2:
            for j in range(width):
                _statistics1(z[n, height - 1, j], shift, s1, s2)
        for c in range(c_all):
            d1[c] += s1[c]
            d2[c] += s2[c]


@kernel
def conclude(m, gamma, beta, eps, shift, d1, d2, p, y, mean, rstd):
    """Fills y, mean and rstd from what `measure` found of m pixels."""
    scale, after = np.empty_like(mean), np.empty_like(mean)
    for c in range(len(mean)):
        off = d1[c] / m
        mean[c] = off + shift[c]
        rstd[c] = 1 / math.sqrt(max(d2[c] / m - off * off, 0.0) + eps)
        scale[c] = gamma[c] * rstd[c]
        after[c] = beta[c] - mean[c] * scale[c]
    scale_shift_rectify(p, scale, after, y)


@kernel
def _forward(z, gamma, beta, y, p, winner, mean, rstd, eps):
    shift, d1, d2 = z[0, 0, 0].copy(), np.zeros(z.shape[3]), np.zeros(z.shape[3])
    measure(z, gamma, shift, d1, d2, p, winner)
    conclude(
        float(z.shape[0] * z.shape[1] * z.shape[2]),
        gamma,
        beta,
        eps,
        shift,
        d1,
        d2,
        p,
        y,
        mean,
        rstd,
    )


@kernel
def gradients(m, dy, gamma, y, p, mean, rstd, dgamma, dbeta, k, c0, c1):
    """Fills dγ, dβ, and the factors of dz = scatter(k · u) + c0 + c1 · z."""
    s_beta, s_gamma = np.empty(len(mean)), np.empty(len(mean))
    sums(dy, y, p, mean, rstd, s_beta, s_gamma)
    for c in range(len(mean)):
        r = float(rstd[c])
        q = gamma[c] * r / m
        k[c] = gamma[c] * r
        c0[c] = -q * (s_beta[c] - r * mean[c] * s_gamma[c])
        c1[c] = -q * r * s_gamma[c]
        dgamma[c], dbeta[c] = s_gamma[c], s_beta[c]


@kernel
def spread(dy, z, y, winner, k, c0, c1, dz):
    """Fills dz = scatter(k · u) + c0 + c1 · z."""
    n_images, height, width, _ = z.shape
    u = np.empty_like(k)
    for n in range(n_images):
        for i in range(height // 2):
            for j in range(width // 2):
                won = winner[n, i, j]
                rectified(u, dy[n, i, j], y[n, i, j], k)
                for q in range(4):
                    row, column = 2 * i + q // 2, 2 * j + q % 2
                    _spread(dz[n, row, column], u, won, q, c0, c1, z[n, row, column])
            if width % 2:
                for row in range(2 * i, 2 * i + 2):
                    _outside(dz[n, row, width - 1], c0, c1, z[n, row, width - 1])
        if height % 2:
            for j in range(width):
                _outside(dz[n, height - 1, j], c0, c1, z[n, height - 1, j])


@kernel
def _backward(dy, z, gamma, y, p, winner, mean, rstd, dz, dgamma, dbeta):
    k, c0, c1 = np.empty_like(mean), np.empty_like(mean), np.empty_like(mean)
    gradients(
        float(z.shape[0] * z.shape[1] * z.shape[2]),
        dy,
        gamma,
        y,
        p,
        mean,
        rstd,
        dgamma,
        dbeta,
        k,
        c0,
        c1,
    )
    spread(dy, z, y, winner, k, c0, c1, dz)


@kernel
def _double_backward(
    g_dz, g_dgamma, g_dbeta, dy, z, gamma, y, p, winner, mean, rstd, h_dy, h_z, h_gamma
):
    n_images, height, width, c_all = z.shape
    m = float(n_images * height * width)
    s_beta = np.empty(c_all)
    s_gamma = np.empty(c_all)
    g_beta = np.zeros(c_all)
    g_gamma = np.zeros(c_all)
    g_p = np.zeros(c_all)
    a = np.empty_like(mean)
    b = np.empty_like(mean)
    q = np.empty_like(mean)
    k = np.empty_like(mean)
    u = np.empty_like(mean)
    c0 = np.empty_like(mean)
    c1 = np.empty_like(mean)
    c2 = np.empty_like(mean)
    one = np.ones_like(mean)
    sums(dy, y, p, mean, rstd, s_beta, s_gamma)
    for n in range(n_images):
        a[:] = 0
        b[:] = 0
        q[:] = 0
        for i in range(height // 2):
            for j in range(width // 2):
                for t in range(4):
                    row, column = 2 * i + t // 2, 2 * j + t % 2
                    _add_sums(g_dz[n, row, column], z[n, row, column], mean, a, b)
                taken = h_dy[n, i, j]
                _take(
                    taken,
                    winner[n, i, j],
                    g_dz[n, 2 * i, 2 * j],
                    g_dz[n, 2 * i, 2 * j + 1],
                    g_dz[n, 2 * i + 1, 2 * j],
                    g_dz[n, 2 * i + 1, 2 * j + 1],
                )
                rectified(u, dy[n, i, j], y[n, i, j], one)
                _add_product(q, taken, u)
            if width % 2:
                for row in range(2 * i, 2 * i + 2):
                    _add_sums(g_dz[n, row, width - 1], z[n, row, width - 1], mean, a, b)
        if height % 2:
            for j in range(width):
                _add_sums(g_dz[n, height - 1, j], z[n, height - 1, j], mean, a, b)
        for c in range(c_all):
            g_beta[c] += a[c]
            g_gamma[c] += float(b[c]) * rstd[c]
            g_p[c] += q[c]
    for c in range(c_all):
        r, g = float(rstd[c]), float(gamma[c])
        f = g * r / m
        inner = g_p[c] - (s_beta[c] * g_beta[c] + s_gamma[c] * g_gamma[c]) / m
        h_gamma[c] = r * inner
        k1, k2 = -f * s_gamma[c], g_dgamma[c] - f * g_gamma[c]
        kz = -(r / m) * (k1 * g_gamma[c] + k2 * s_gamma[c]) - g * inner * r * r / m
        c0[c] = -(r / m) * (k1 * g_beta[c] + k2 * s_beta[c]) - kz * r * mean[c]
        c1[c] = kz * r
        c2[c] = r * k1
        k[c] = r * k2
        a[c], b[c], q[c] = g * r, g_dbeta[c] - f * g_beta[c] - k2 * r * mean[c], k2 * r
    finish(h_dy, y, p, a, b, q)
    for n in range(n_images):
        for i in range(height // 2):
            for j in range(width // 2):
                won = winner[n, i, j]
                rectified(u, dy[n, i, j], y[n, i, j], k)
                for t in range(4):
                    row, column = 2 * i + t // 2, 2 * j + t % 2
                    _spread_also(
                        h_z[n, row, column],
                        u,
                        won,
                        t,
                        c0,
                        c1,
                        z[n, row, column],
                        c2,
                        g_dz[n, row, column],
                    )
            if width % 2:
                for row in range(2 * i, 2 * i + 2):
                    _outside_also(
                        h_z[n, row, width - 1],
                        c0,
                        c1,
                        z[n, row, width - 1],
                        c2,
                        g_dz[n, row, width - 1],
                    )
        if height % 2:
            for j in range(width):
                _outside_also(
                    h_z[n, height - 1, j], c0, c1, z[n, height - 1, j], c2, g_dz[n, height - 1, j]
                )


@kernel
def finish(h_dy, y, p, a, b, q):
    """h_dy = a · h_dy + b + q · p where y > 0, in place."""
    zero = h_dy.dtype.type(0)
    for n in range(p.shape[0]):
        for i in range(p.shape[1]):
            for j in range(p.shape[2]):
                d, yy, pp = h_dy[n, i, j], y[n, i, j], p[n, i, j]
                for c in range(len(a)):
                    d[c] = zero if yy[c] <= 0 else a[c] * d[c] + b[c] + q[c] * pp[c]
