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
    finish,
    inlined,
    kernel,
    rectified,
    scale_shift_rectify,
    sums,
)


@inlined
def _row(image, tap, i, width):
    """Row i of a column of the convolution, as an image."""
    return image[i + tap // 3, tap % 3 : tap % 3 + width]


@inlined
def _dot(a, b):
    """Σ a·b in double."""
    total = 0.0
    for j in range(len(a)):
        total += float(a[j]) * float(b[j])
    return total


@inlined
def _total(a):
    """Σ a in double."""
    total = 0.0
    for j in range(len(a)):
        total += float(a[j])
    return total


@kernel
def gram(x, g, s):
    """G and s of padded images."""
    height, width = x.shape[1] - 2, x.shape[2] - 2
    g[:] = 0
    s[:] = 0
    for n in range(x.shape[0]):
        for a in range(9):
            for b in range(a + 1):
                for i in range(height):
                    g[a, b] += _dot(_row(x[n], a, i, width), _row(x[n], b, i, width))
            for i in range(height):
                s[a] += _total(_row(x[n], a, i, width))
    for a in range(9):
        for b in range(a):
            g[b, a] = g[a, b]


@inlined
def _patch(x, i, j):
    """The 4×4 pixels that a window of 2×2 outputs sees, by rows."""
    return (
        (x[i, j], x[i, j + 1], x[i, j + 2], x[i, j + 3]),
        (x[i + 1, j], x[i + 1, j + 1], x[i + 1, j + 2], x[i + 1, j + 3]),
        (x[i + 2, j], x[i + 2, j + 1], x[i + 2, j + 2], x[i + 2, j + 3]),
        (x[i + 3, j], x[i + 3, j + 1], x[i + 3, j + 2], x[i + 3, j + 3]),
    )


@inlined
def _pixel(above, at, below, w):
    """The convolution at one pixel, of three pixels of each of three rows."""
    first = above[0] * w[0] + above[1] * w[1] + above[2] * w[2]
    second = at[0] * w[3] + at[1] * w[4] + at[2] * w[5]
    third = below[0] * w[6] + below[1] * w[7] + below[2] * w[8]
    return first + second + third


@inlined
def _window(patch, w, c):
    """The convolution at the four pixels of a window, one channel: each weight is read once, and
    nothing is stored in between.
    """
    a, b, e, f = patch
    taps = w[0, c], w[1, c], w[2, c], w[3, c], w[4, c], w[5, c], w[6, c], w[7, c], w[8, c]
    return (
        _pixel(a[:3], b[:3], e[:3], taps),
        _pixel(a[1:], b[1:], e[1:], taps),
        _pixel(b[:3], e[:3], f[:3], taps),
        _pixel(b[1:], e[1:], f[1:], taps),
    )


@inlined
def _extreme(p, winner, patch, w, sign):
    """The largest of a window of the convolution after multiplication with a sign, and which, as in
    `compiled`.
    """
    for c in range(len(p)):
        s = sign[c]
        y0, y1, y2, y3 = _window(patch, w, c)
        x0, x1, x2, x3 = y0 * s, y1 * s, y2 * s, y3 * s
        m = max(max(x0, x1), max(x2, x3))
        p[c] = m * s
        k = np.uint8(2) if x2 == m else np.uint8(3)
        k = np.uint8(1) if x1 == m else k
        winner[c] = np.uint8(0) if x0 == m else k


@inlined
def _won(out0, out1, out2, winner, u, upper, lower):
    """Out += the winner's value · u, for the three taps of a row: a winner of the upper row of a
    window sees the upper row of pixels there.
    """
    for c in range(len(u)):
        k = winner[c]
        for_all = u[c]
        v = lower[0] if k == 2 else lower[1]
        v = upper[1] if k == 1 else v
        v = upper[0] if k == 0 else v
        out0[c] += v * for_all
        v = lower[1] if k == 2 else lower[2]
        v = upper[2] if k == 1 else v
        v = upper[1] if k == 0 else v
        out1[c] += v * for_all
        v = lower[2] if k == 2 else lower[3]
        v = upper[3] if k == 1 else v
        v = upper[2] if k == 0 else v
        out2[c] += v * for_all


@inlined
def _take(out, winner, patch, w):
    """The convolution at the winners of a window."""
    for c in range(len(out)):
        k = winner[c]
        y0, y1, y2, y3 = _window(patch, w, c)
        v = y2 if k == 2 else y3
        v = y1 if k == 1 else v
        out[c] = y0 if k == 0 else v


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
def _rectified_maximum(y, patch, w, shift):
    zero = y.dtype.type(0)
    for c in range(len(y)):
        y0, y1, y2, y3 = _window(patch, w, c)
        v = max(max(y0, y1), max(y2, y3)) + shift[c]
        y[c] = zero if v < 0 else v


@kernel
def answer(x, w, shift, y):
    """Y = max(0, max of each window + shift)."""
    for n in range(x.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                _rectified_maximum(y[n, i, j], _patch(x[n], 2 * i, 2 * j), w, shift)


@kernel
def forward(x, g, s, w, gamma, beta, y, p, winner, mean, rstd, eps):
    """y, p, winner, mean and rstd are filled."""
    c_all, m = w.shape[1], float(x.shape[0] * (x.shape[1] - 2) * (x.shape[2] - 2))
    sign = np.ones_like(gamma)
    scale = np.empty_like(gamma)
    shift = np.empty_like(gamma)
    zw = _product(g, w)
    for c in range(c_all):
        if gamma[c] < 0:
            sign[c] = -1
    for n in range(x.shape[0]):
        for i in range(p.shape[1]):
            for j in range(p.shape[2]):
                patch = _patch(x[n], 2 * i, 2 * j)
                _extreme(p[n, i, j], winner[n, i, j], patch, w, sign)
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
                patch = _patch(x[n], 2 * i, 2 * j)
                won_here = winner[n, i, j]
                _won(part[0], part[1], part[2], won_here, u, patch[0], patch[1])
                _won(part[3], part[4], part[5], won_here, u, patch[1], patch[2])
                _won(part[6], part[7], part[8], won_here, u, patch[2], patch[3])
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
    zw, gw = _product(g, w), _product(g, g_dw)
    for n in range(x.shape[0]):
        for i in range(p.shape[1]):
            for j in range(p.shape[2]):
                patch = _patch(x[n], 2 * i, 2 * j)
                _take(h_dy[n, i, j], winner[n, i, j], patch, g_dw)
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
