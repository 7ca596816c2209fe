"""3×3 convolutions of float32 on a CPU with fewer than half the multiplications.

Winograd's minimal filtering F(2×2, 3×3) [Lavin & Gray 2016, arXiv 1509.09308]: of each window d of
4×4 pixels and each filter g, with the matrices L below,

    z = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A     (2×2 pixels)

which summed over channels is 16 matrix products, of 16 numbers where a direct convolution has 36.
The gradient for the pixels is the same operation with turned filters, and that for the filters is
its transpose, dg = Gᵀ [(A dz Aᵀ) ⊙ (Bᵀ d B)] G. Windows are transformed, multiplied and transformed
back some at a time, so that they stay in the cache. Each pixel's sums run in one order, whatever
else is in the batch and however many threads there are.

Arrays are ``[N H W C]``, weights ``[O 3 3 I]``, contiguous.
"""

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.recording import recordable
from quickstudy.kernels.compiled import arrays, kernel
from quickstudy.kernels.threads import in_parts
from quickstudy.kernels.vectors import (
    COLUMNS,
    ROWS,
    ROWS_ADDED,
    product,
    product_added,
    product_transposed,
    stack_to_stack,
    stack_to_window,
    window_to_stack,
)

_B = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]], np.float64)
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float64)
_A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]], np.float64)
_WINDOWS = 30  # at a time, a multiple of ROWS: they and the filters stay in the second cache
_WINDOWS_PER_THREAD = 120
_CONNECTIONS = 320 * 320  # of channels, beyond which the filters no longer stay in the cache

_read_pixels = window_to_stack(_B.T)
_read_gradients = window_to_stack(_A)
_write_pixels = stack_to_window(_A.T)
_filters = stack_to_stack(_G)
_turned_filters = stack_to_stack(_G[:, ::-1])
_filter_gradients = stack_to_stack(_G.T)


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels below, which check nothing, can serve images ``[N I H W]`` and a weight
    ``[O I 3 3]``: both float32, with channels that fill vectors, in and out.
    """
    n_out, n_in = weight.shape[:2]
    return (
        x.dtype == weight.dtype == torch.float32
        and x.shape[1] == n_in
        and n_in % COLUMNS == n_out % COLUMNS == 0
        and n_in * n_out <= _CONNECTIONS
    )


@recordable
def convolution(x: Tensor, weight: Tensor) -> Tensor:
    """``[N H W I]`` to ``[N H W O]``, padded with a border of zeros."""
    z = x.new_empty(*x.shape[:3], weight.shape[0])
    pixels, filters, answer = arrays(x, weight, z)
    _fill(answer, (pixels, _spread(filters)))
    return z


@recordable
def convolution_sum(x: Tensor, weight: Tensor, more: Tensor, more_weight: Tensor) -> Tensor:
    """The sum of two convolutions of one shape."""
    z = x.new_empty(*x.shape[:3], weight.shape[0])
    pixels, filters, others, other_filters, answer = arrays(x, weight, more, more_weight, z)
    _fill(answer, (pixels, _spread(filters)), (others, _spread(other_filters)))
    return z


@recordable
def pixel_gradient(dz: Tensor, weight: Tensor) -> Tensor:
    """``[N H W O]`` to the gradient for ``[N H W I]``."""
    dx = dz.new_empty(*dz.shape[:3], weight.shape[3])
    gradients, filters, answer = arrays(dz, weight, dx)
    _fill(answer, (gradients, _spread_turned(filters)))
    return dx


@recordable
def weight_gradient(dz: Tensor, x: Tensor) -> Tensor:
    """``[N H W O]`` and ``[N H W I]`` to the gradient for the weight ``[O 3 3 I]``."""
    dw = x.new_empty(dz.shape[3], 3, 3, x.shape[3])
    gradients, pixels, answer = arrays(dz, x, dw)
    blocks = dz.shape[3] // COLUMNS
    enough = -(-blocks * _WINDOWS_PER_THREAD // max(1, _count(dz)))
    in_parts(_differentiate, blocks, enough, gradients, pixels, answer)
    return dw


def _fill(z: np.ndarray, *summands: tuple[np.ndarray, np.ndarray]) -> None:
    """Z = the sum of one or two convolutions, each of pixels and transformed filters."""
    adds = len(summands) == 2
    in_parts(_convolve, _count(z), _WINDOWS_PER_THREAD, *summands[0], *summands[-1], adds, z)


def _count(z: Tensor | np.ndarray) -> int:
    """Windows of a batch of images."""
    return z.shape[0] * ((z.shape[1] + 1) // 2) * ((z.shape[2] + 1) // 2)


@kernel
def _spread(weight):
    """G g Gᵀ of each filter, ``[16 I O]``."""
    n_out, _, _, n_in = weight.shape
    by_tap = np.empty((9, n_in, n_out), np.float32)
    for tap in range(9):
        for o in range(n_out):
            for i in range(n_in):
                by_tap[tap, i, o] = weight[o, tap // 3, tap % 3, i]
    spread = np.empty((16, n_in, n_out), np.float32)
    _filters(by_tap, 0, n_in * n_out, spread, 0, n_in * n_out, n_in * n_out)
    return spread


@kernel
def _spread_turned(weight):
    """The same of each filter turned by half a turn, ``[16 O I]``."""
    n_out, _, _, n_in = weight.shape
    spread = np.empty((16, n_out, n_in), np.float32)
    for o in range(n_out):
        _turned_filters(weight, o * 9 * n_in, n_in, spread, o * n_in, n_out * n_in, n_in)
    return spread


@kernel
def _read(x, begin, count, zeros, v):
    """Bᵀ d B of some windows, ``[16 windows I]``, and zeros up to a full block of rows."""
    _, height, width, channels = x.shape
    columns = (width + 1) // 2
    per_image = (height + 1) // 2 * columns
    step = v.shape[1] * channels
    for t in range(count):
        image, place = divmod(begin + t, per_image)
        i, j = divmod(place, columns)
        _read_pixels(
            x, image, 2 * i - 1, 2 * j - 1, height, width, channels, zeros, v, t * channels, step
        )
    v[:, count : -(-count // ROWS) * ROWS] = 0


@kernel
def _multiply(v, spread, count, adds, m):
    _, n_windows, n_in = v.shape
    n_out = spread.shape[2]
    for k in range(16):
        for r in range(0, count, ROWS):
            v_at, m_at = (k * n_windows + r) * n_in, (k * n_windows + r) * n_out
            for q in range(0, n_out, COLUMNS):
                u_at = k * n_in * n_out + q
                if adds:
                    product_added(
                        v, v_at, n_in, 1, 0, spread, u_at, n_out, m, m_at + q, n_out, 1, n_in
                    )
                else:
                    product(v, v_at, n_in, 1, 0, spread, u_at, n_out, m, m_at + q, n_out, 1, n_in)


@kernel
def _convolve(begin, end, x, spread, more, more_spread, adds, z):
    """Fills the windows ``begin`` to ``end`` of z: one convolution, or the sum of two."""
    _, height, width, n_out = z.shape
    columns = (width + 1) // 2
    per_image = (height + 1) // 2 * columns
    n_in = x.shape[3]
    v = np.empty((16, _WINDOWS, n_in), np.float32)
    m = np.empty((16, _WINDOWS, n_out), np.float32)
    zeros, nowhere = np.zeros(n_in, np.float32), np.empty(n_out, np.float32)
    for at in range(begin, end, _WINDOWS):
        count = min(_WINDOWS, end - at)
        _read(x, at, count, zeros, v)
        _multiply(v, spread, count, False, m)
        if adds:
            _read(more, at, count, zeros, v)
            _multiply(v, more_spread, count, True, m)
        for t in range(count):
            image, place = divmod(at + t, per_image)
            i, j = divmod(place, columns)
            _write_pixels(
                m,
                t * n_out,
                _WINDOWS * n_out,
                z,
                image,
                2 * i,
                2 * j,
                height,
                width,
                n_out,
                nowhere,
            )


@kernel
def _differentiate(first, last, dz, x, dw):
    """Fills the gradient of the blocks of `COLUMNS` filters from ``first`` to ``last``."""
    begin, end = first * COLUMNS, last * COLUMNS
    n_images, height, width, n_out = dz.shape
    n_in, n_here = x.shape[3], end - begin
    columns = (width + 1) // 2
    per_image = (height + 1) // 2 * columns
    total = n_images * per_image
    v = np.empty((16, _WINDOWS, n_in), np.float32)
    d = np.empty((16, _WINDOWS, n_out), np.float32)
    sums = np.zeros((16, n_here, n_in), np.float32)
    zeros = np.zeros(max(n_in, n_out), np.float32)
    for at in range(0, total, _WINDOWS):
        count = min(_WINDOWS, total - at)
        _read(x, at, count, zeros, v)
        for t in range(count):
            image, place = divmod(at + t, per_image)
            i, j = divmod(place, columns)
            _read_gradients(
                dz,
                image,
                2 * i,
                2 * j,
                height,
                width,
                n_out,
                zeros,
                d,
                t * n_out,
                _WINDOWS * n_out,
            )
        for k in range(16):
            for r in range(0, n_here, ROWS_ADDED):
                d_at = k * _WINDOWS * n_out + begin + r
                for q in range(0, n_in, COLUMNS):
                    v_at, sum_at = k * _WINDOWS * n_in + q, (k * n_here + r) * n_in + q
                    product_transposed(
                        d, d_at, 1, n_out, 0, v, v_at, n_in, sums, sum_at, n_in, 1, count
                    )
    for o in range(n_here):
        _filter_gradients(sums, o * n_in, n_here * n_in, dw, (begin + o) * 9 * n_in, n_in, n_in)
