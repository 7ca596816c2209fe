"""The first block on images of one channel, in numba: 3×3 convolution (padding 1) and the fused
block, without storing the convolution's output.

The images are data, the same at each inner step, so what depends on them alone is computed once:
with X ``[M 9]`` the columns of the convolution, z = X W, the Gram matrix G = XᵀX and the sums s =
Xᵀ1 give the statistics (μ = Wᵀs/M, σ² = diag(WᵀGW)/M − μ²) and the dense part of each backward pass
(XᵀZ = G W). What is left runs over the winners of the windows, a quarter of the pixels.

Arrays: padded images x ``[N H+2 W+2]``, weights w ``[9 C]``, G ``[9 9]`` and s ``[9]`` in double,
the rest as in `compiled`, whose equations hold.
"""

import math

import numpy as np

from quickstudy.kernels.compiled import (
    extreme,
    finish,
    inlined,
    kernel,
    rectified,
    scale_shift_rectify,
    sums,
)


@kernel
def gram(x, g, s):
    """G and s of padded images."""
    col = np.zeros(9, x.dtype)
    g[:] = 0
    s[:] = 0
    for n in range(x.shape[0]):
        for i in range(x.shape[1] - 2):
            for j in range(x.shape[2] - 2):
                for a in range(9):
                    col[a] = x[n, i + a // 3, j + a % 3]
                for a in range(9):
                    v = float(col[a])
                    s[a] += v
                    for b in range(a + 1):
                        g[a, b] += v * col[b]
    for a in range(9):
        for b in range(a):
            g[b, a] = g[a, b]


@inlined
def _three(out, w0, w1, w2, v0, v1, v2):
    for c in range(len(out)):
        out[c] += v0 * w0[c] + v1 * w1[c] + v2 * w2[c]


@inlined
def _convolve(out, x, w, i, j):
    """The convolution at one pixel, all channels."""
    out[:] = 0
    for r in range(3):
        _three(
            out, w[3 * r], w[3 * r + 1], w[3 * r + 2], x[i + r, j], x[i + r, j + 1], x[i + r, j + 2]
        )


@inlined
def _won(out, winner, u, v0, v1, v2, v3):
    """Out += the winner's value · u."""
    for c in range(len(out)):
        k = winner[c]
        v = v2 if k == 2 else v3
        v = v1 if k == 1 else v
        v = v0 if k == 0 else v
        out[c] += v * u[c]


@inlined
def _take(out, winner, a, b, e, f):
    for c in range(len(out)):
        k = winner[c]
        v = e[c] if k == 2 else f[c]
        v = b[c] if k == 1 else v
        out[c] = a[c] if k == 0 else v


@kernel
def _product(g, w):
    """G W in double."""
    out = np.zeros((9, w.shape[1]))
    for a in range(9):
        for b in range(9):
            for c in range(w.shape[1]):
                out[a, c] += g[a, b] * w[b, c]
    return out


@inlined
def _rectified_maximum(y, a, b, e, f, shift):
    zero = y.dtype.type(0)
    for c in range(len(y)):
        v = max(max(a[c], b[c]), max(e[c], f[c])) + shift[c]
        y[c] = zero if v < 0 else v


@kernel
def answer(x, w, shift, y):
    """Y = max(0, max of each window + shift)."""
    a = np.empty_like(shift)
    b = np.empty_like(shift)
    e = np.empty_like(shift)
    f = np.empty_like(shift)
    for n in range(x.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                _convolve(a, x[n], w, 2 * i, 2 * j)
                _convolve(b, x[n], w, 2 * i, 2 * j + 1)
                _convolve(e, x[n], w, 2 * i + 1, 2 * j)
                _convolve(f, x[n], w, 2 * i + 1, 2 * j + 1)
                _rectified_maximum(y[n, i, j], a, b, e, f, shift)


@kernel
def forward(x, g, s, w, gamma, beta, y, p, winner, mean, rstd, eps):
    """y, p, winner, mean and rstd are filled."""
    c_all, m = w.shape[1], float(x.shape[0] * (x.shape[1] - 2) * (x.shape[2] - 2))
    sign = np.ones_like(gamma)
    scale = np.empty_like(gamma)
    shift = np.empty_like(gamma)
    zw = _product(g, w)
    a = np.empty_like(gamma)
    b = np.empty_like(gamma)
    e = np.empty_like(gamma)
    f = np.empty_like(gamma)
    for c in range(c_all):
        if gamma[c] < 0:
            sign[c] = -1
    for n in range(x.shape[0]):
        for i in range(p.shape[1]):
            for j in range(p.shape[2]):
                _convolve(a, x[n], w, 2 * i, 2 * j)
                _convolve(b, x[n], w, 2 * i, 2 * j + 1)
                _convolve(e, x[n], w, 2 * i + 1, 2 * j)
                _convolve(f, x[n], w, 2 * i + 1, 2 * j + 1)
                extreme(p[n, i, j], winner[n, i, j], a, b, e, f, sign)
    for c in range(c_all):
        mu, square = 0.0, 0.0
        for k in range(9):
            mu += s[k] * w[k, c]
            square += zw[k, c] * w[k, c]
        mu /= m
        mean[c] = mu
        rstd[c] = 1 / math.sqrt(max(square / m - mu * mu, 0.0) + eps)
        scale[c] = gamma[c] * rstd[c]
        shift[c] = beta[c] - mean[c] * scale[c]
    scale_shift_rectify(p, scale, shift, y)


@kernel
def backward(dy, x, g, s, w, gamma, y, p, winner, mean, rstd, won, dw, dgamma, dbeta):
    """dw, dgamma and dbeta are filled, and won = Σ x·u over the winners, ``[9 C]``, for the double
    backward.
    """
    c_all, m = w.shape[1], float(x.shape[0] * (x.shape[1] - 2) * (x.shape[2] - 2))
    s_beta = np.empty(c_all)
    s_gamma = np.empty(c_all)
    u = np.empty_like(gamma)
    one = np.ones_like(gamma)
    part, total, zw = np.empty_like(w), np.zeros((9, c_all)), _product(g, w)
    sums(dy, y, p, mean, rstd, s_beta, s_gamma)
    for n in range(x.shape[0]):
        part[:] = 0
        for i in range(p.shape[1]):
            for j in range(p.shape[2]):
                rectified(u, dy[n, i, j], y[n, i, j], one)
                for k in range(9):
                    row, column = 2 * i + k // 3, 2 * j + k % 3
                    v0 = x[n, row, column]
                    v1 = x[n, row, column + 1]
                    v2 = x[n, row + 1, column]
                    v3 = x[n, row + 1, column + 1]
                    _won(part[k], winner[n, i, j], u, v0, v1, v2, v3)
        for k in range(9):
            for c in range(c_all):
                total[k, c] += part[k, c]
    for c in range(c_all):
        r = float(rstd[c])
        q = gamma[c] * r
        c0, c1 = -(q / m) * (s_beta[c] - r * mean[c] * s_gamma[c]), -(q / m) * r * s_gamma[c]
        dgamma[c], dbeta[c] = s_gamma[c], s_beta[c]
        for k in range(9):
            won[k, c] = total[k, c]
            dw[k, c] = q * total[k, c] + c0 * s[k] + c1 * zw[k, c]


@kernel
def double_backward(
    g_dw,
    g_dgamma,
    g_dbeta,
    x,
    g,
    s,
    w,
    gamma,
    y,
    p,
    winner,
    mean,
    rstd,
    won,
    s_gamma,
    s_beta,
    h_dy,
    h_w,
    h_gamma,
):
    """h_dy, h_w and h_gamma are filled; s_gamma and s_beta are the backward's dγ and dβ."""
    c_all, m = w.shape[1], float(x.shape[0] * (x.shape[1] - 2) * (x.shape[2] - 2))
    a = np.empty_like(gamma)
    b = np.empty_like(gamma)
    e = np.empty_like(gamma)
    f = np.empty_like(gamma)
    zw, gw = _product(g, w), _product(g, g_dw)
    for n in range(x.shape[0]):
        for i in range(p.shape[1]):
            for j in range(p.shape[2]):
                _convolve(a, x[n], g_dw, 2 * i, 2 * j)
                _convolve(b, x[n], g_dw, 2 * i, 2 * j + 1)
                _convolve(e, x[n], g_dw, 2 * i + 1, 2 * j)
                _convolve(f, x[n], g_dw, 2 * i + 1, 2 * j + 1)
                _take(h_dy[n, i, j], winner[n, i, j], a, b, e, f)
    for c in range(c_all):
        g_beta, g_z, g_p = 0.0, 0.0, 0.0
        for k in range(9):
            g_beta += s[k] * g_dw[k, c]
            g_z += zw[k, c] * g_dw[k, c]
            g_p += float(won[k, c]) * g_dw[k, c]
        r = float(rstd[c])
        mu = float(mean[c])
        ga = float(gamma[c])
        sb = float(s_beta[c])
        sg = float(s_gamma[c])
        q, g_gamma = ga * r, (g_z - mu * g_beta) * r
        inner = g_p - (sb * g_beta + sg * g_gamma) / m
        h_gamma[c] = r * inner
        k1, k2 = -(q / m) * sg, g_dgamma[c] - (q / m) * g_gamma
        kz = -(r / m) * (k1 * g_gamma + k2 * sg) - ga * inner * r * r / m
        c0, c1 = -(r / m) * (k1 * g_beta + k2 * sb) - kz * r * mu, kz * r
        for k in range(9):
            h_w[k, c] = r * k1 * gw[k, c] + r * k2 * won[k, c] + c0 * s[k] + c1 * zw[k, c]
        a[c], b[c], e[c] = q, g_dbeta[c] - (q / m) * g_beta - k2 * r * mu, k2 * r
    finish(h_dy, y, p, a, b, e)
