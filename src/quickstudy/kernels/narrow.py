"""3×3 convolutions of three channels in float32, as matrix products on the images themselves.

A pixel's nine numbers of one row of the window lie side by side in a padded image, and those of the
next pixel three further on: what a matrix of columns would hold is read where it is. The
convolution of a first block is done some rows at a time, so that what follows finds them in the
cache.

Arrays are ``[N H W C]``, weights ``[O 3 3 3]``, contiguous.
"""

import numpy as np
import torch
from torch import Tensor

from quickstudy.core.recording import recordable
from quickstudy.kernels import compiled
from quickstudy.kernels.compiled import arrays, kernel
from quickstudy.kernels.threads import in_parts
from quickstudy.kernels.vectors import COLUMNS, COLUMNS_OF_NINE, ROWS, product, product_of_nine

_CHANNELS = 3
_TAPS = 27
_BYTES = 160_000  # of the convolution's output at a time: they stay in the second cache


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels below, which check nothing, can serve images ``[N I H W]`` and a weight
    ``[O I 3 3]``: both float32, three channels to some that fill vectors, and images at least as
    wide as a block of pixels.
    """
    return (
        x.dtype == weight.dtype == torch.float32
        and x.shape[1] == weight.shape[1] == _CHANNELS
        and weight.shape[0] % COLUMNS == 0
        and x.shape[3] >= ROWS
        and len(x) > 0
    )


@recordable
def convolution(x: Tensor, weight: Tensor) -> Tensor:
    """``[N H W 3]`` to ``[N H W O]``, padded with a border of zeros."""
    z = x.new_empty(*x.shape[:3], weight.shape[0])
    in_parts(_convolve, len(x), 1, *arrays(x, weight, z))
    return z


@recordable
def weight_gradient(dz: Tensor, x: Tensor) -> Tensor:
    """``[N H W O]`` and ``[N H W 3]`` to the gradient for the weight ``[O 3 3 3]``."""
    of_images = x.new_zeros(len(x), _TAPS, dz.shape[3])
    in_parts(_differentiate, len(x), 1, *arrays(dz, x, of_images))
    return _by_filter(of_images)


def measure(
    x: Tensor, weight: Tensor, gamma: Tensor, p: Tensor, winner: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`compiled.measure` of the convolution, some rows at a time: the shift, and the sums of all
    pixels in double. Fills the extremes of the windows and their places.
    """
    shift = torch.empty_like(gamma)
    pixels, filters = arrays(x, weight)
    _first_pixel(pixels, filters, *arrays(shift))
    sums = torch.zeros(2, len(x), len(gamma), dtype=torch.float64)
    strips = _strips(x, p)
    in_parts(
        _measure,
        len(x),
        1,
        pixels,
        filters,
        *arrays(gamma, shift, *sums, _in_strips(p, strips), _in_strips(winner, strips)),
    )
    d1, d2 = sums.sum(1)
    return shift, d1, d2


def differentiate(
    x: Tensor,
    weight: Tensor,
    dy: Tensor,
    y: Tensor,
    winner: Tensor,
    factors: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """The gradient for the weight, from `compiled.spread` of the convolution, some rows at a
    time.
    """
    of_images = x.new_zeros(len(x), _TAPS, weight.shape[0])
    strips = _strips(x, y)
    pooled = (_in_strips(t, strips) for t in (dy, y, winner))
    in_parts(_spread_and_differentiate, len(x), 1, *arrays(x, weight, *pooled, *factors, of_images))
    return _by_filter(of_images)


def _by_filter(of_images: Tensor) -> Tensor:
    return of_images.sum(0).t().reshape(-1, 3, 3, _CHANNELS)


def _strips(x: Tensor, pooled: Tensor) -> int:
    """Parts of an image of equally many rows, each with whole pooling windows."""
    height, width = x.shape[1:3]
    rows = pooled.shape[1]
    if height % 2:
        return 1
    fit = max(1, _BYTES // (2 * width * pooled.shape[3] * x.element_size()))
    return next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= fit)


def _in_strips(t: Tensor, strips: int) -> Tensor:
    return t.unflatten(1, (strips, -1))


@kernel
def _pad(image, padded):
    height, width, channels = image.shape
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                padded[i + 1, j + 1, c] = image[i, j, c]


@kernel
def _taps(weight):
    """The weight as ``[27 O]``."""
    n_out = len(weight)
    by_tap = np.empty((27, n_out), np.float32)
    for o in range(n_out):
        for tap in range(27):
            by_tap[tap, o] = weight[o, tap // 9, tap % 9 // 3, tap % 3]
    return by_tap


@kernel
def _convolve_rows(padded, by_tap, first, count, z, at):
    """Some rows of an image to z, from place ``at`` on."""
    width = padded.shape[1] - 2
    row, n_out = 3 * (width + 2), by_tap.shape[1]
    for i in range(count):
        for block in range(0, width, ROWS):
            j = min(block, width - ROWS)  # the last two may overlap
            source, target = (first + i) * row + 3 * j, at + (i * width + j) * n_out
            for q in range(0, n_out, COLUMNS):
                product(padded, source, 3, 1, row, by_tap, q, n_out, z, target + q, n_out, 3, 9)


@kernel
def _differentiate_rows(padded, first, count, dz, at, dw, to):
    """Adds the gradient ``[27 O]`` of some rows, from place ``to`` on."""
    width = padded.shape[1] - 2
    row, n_out = 3 * (width + 2), dz.shape[3]
    for di in range(3):
        source, target = (first + di) * row, to + 9 * di * n_out
        for q in range(0, n_out, COLUMNS_OF_NINE):
            product_of_nine(
                padded, source, 1, 3, row, dz, at + q, n_out, dw, target + q, n_out, count, width
            )


@kernel
def _padded(x):
    return np.zeros((x.shape[1] + 2, x.shape[2] + 2, 3), np.float32)


@kernel
def _convolve(begin, end, x, weight, z):
    by_tap, padded = _taps(weight), _padded(x)
    size = z.shape[1] * z.shape[2] * z.shape[3]
    for n in range(begin, end):
        _pad(x[n], padded)
        _convolve_rows(padded, by_tap, 0, x.shape[1], z, n * size)


@kernel
def _differentiate(begin, end, dz, x, dw):
    padded = _padded(x)
    size = dz.shape[1] * dz.shape[2] * dz.shape[3]
    for n in range(begin, end):
        _pad(x[n], padded)
        _differentiate_rows(padded, 0, x.shape[1], dz, n * size, dw, n * 27 * dz.shape[3])


@kernel
def _first_pixel(x, weight, pixel):
    padded = _padded(x)
    _pad(x[0], padded)
    row = np.empty((1, 1, x.shape[2], len(pixel)), np.float32)
    _convolve_rows(padded, _taps(weight), 0, 1, row, 0)
    pixel[:] = row[0, 0, 0]


@kernel
def _measure(begin, end, x, weight, gamma, shift, d1, d2, p, winner):
    by_tap, padded = _taps(weight), _padded(x)
    _, strips, pooled_rows, pooled_width, n_out = p.shape
    rows = x.shape[1] // strips
    z = np.empty((1, rows, x.shape[2], n_out), np.float32)
    shape = (1, pooled_rows, pooled_width, n_out)
    for n in range(begin, end):
        _pad(x[n], padded)
        for s in range(strips):
            _convolve_rows(padded, by_tap, s * rows, rows, z, 0)
            extremes, places = p[n, s].reshape(shape), winner[n, s].reshape(shape)
            compiled.measure(z, gamma, shift, d1[n], d2[n], extremes, places)


@kernel
def _spread_and_differentiate(begin, end, x, weight, dy, y, winner, k, c0, c1, dw):
    by_tap, padded = _taps(weight), _padded(x)
    _, strips, pooled_rows, pooled_width, n_out = y.shape
    rows = x.shape[1] // strips
    z = np.empty((1, rows, x.shape[2], n_out), np.float32)
    dz = np.empty_like(z)
    shape = (1, pooled_rows, pooled_width, n_out)
    for n in range(begin, end):
        _pad(x[n], padded)
        for s in range(strips):
            _convolve_rows(padded, by_tap, s * rows, rows, z, 0)
            above, after = dy[n, s].reshape(shape), y[n, s].reshape(shape)
            compiled.spread(above, z, after, winner[n, s].reshape(shape), k, c0, c1, dz)
            _differentiate_rows(padded, s * rows, rows, dz, 0, dw, n * 27 * n_out)
