"""Vector operations for numba's kernels, written in LLVM's own language.

numba's optimiser turns a loop over channels into vectors only while the loop touches few arrays,
and never keeps a block of sums in registers. These operations do both. They work on flat memory:
arrays are given with a place to begin at and steps between rows, all counted in elements of
float32, and nothing is checked.

numba keeps what it compiled as long as the file of the kernel is the same: after a change here,
save the files that use it, too.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

Value: TypeAlias = Any  # of llvmlite, which has no types
Grid: TypeAlias = list[list[Value]]


def _registers() -> tuple[int, int, int, int]:
    """Floats in a vector; rows and vectors of a block of sums, with a row of factors and a number
    beside, that fit the processor's registers; and vectors of a block of nine rows.
    """
    settings: Any = config
    if settings.CPU_FEATURES is not None:
        has = set(settings.CPU_FEATURES.split(","))
    else:
        features = llvmlite.binding.get_host_cpu_features()
        has = {f"+{name}" for name, there in features.items() if there}
    if "+avx512f" in has:
        return 16, 10, 2, 2
    if "+avx" in has:
        return 8, 6, 2, 1
    if "+neon" in has:
        return 4, 5, 4, 2
    return 4, 6, 2, 1


WIDTH, ROWS, _VECTORS, _VECTORS_OF_NINE = _registers()
COLUMNS = WIDTH * _VECTORS
COLUMNS_OF_NINE = WIDTH * _VECTORS_OF_NINE
ROWS_ADDED = 4  # divides every number of channels that COLUMNS divides
_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)
_CONTRACT = ("contract",)


def _memory(context: Any, builder: Any, kind: Any, array: Value) -> Value:
    return make_array(kind)(context, builder, array).data


def _constant(number: float) -> Value:
    return ir.Constant(_VECTOR, [float(number)] * WIDTH)


def _at(builder: Any, pointer: Value, place: Value) -> Value:
    return builder.bitcast(builder.gep(pointer, [place]), _VECTOR.as_pointer())


def _load(builder: Any, pointer: Value, place: Value) -> Value:
    value = builder.load(_at(builder, pointer, place))
    value.align = 4
    return value


def _store(builder: Any, value: Value, pointer: Value, place: Value) -> None:
    builder.store(value, _at(builder, pointer, place)).align = 4


def _everywhere(builder: Any, number: Value) -> Value:
    """A vector of one number."""
    nothing, index = ir.Constant(_VECTOR, ir.Undefined), ir.IntType(32)
    first = builder.insert_element(nothing, number, ir.Constant(index, 0))
    places = ir.Constant(ir.VectorType(index, WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, nothing, places)


# --- a block of a matrix product


def _product(rows: int, n_vectors: int, *, adds: bool) -> Any:
    """C = A B, or C += A B, for ``rows`` rows of A and ``n_vectors`` vectors of columns of B. The
    sums run over ``depth`` places of A, ``times`` times, the beginnings ``a_jump`` apart, and over
    as many rows of B.
    """

    @intrinsic
    def product(
        typing, a, a_at, a_row, a_step, a_jump, b, b_at, b_step, c, c_at, c_row, times, depth
    ):
        n = types.intp
        signature = types.void(a, n, n, n, n, b, n, n, c, n, n, n, n)

        def generate(context, builder, signature, args):
            kinds = signature.args
            first = _memory(context, builder, kinds[0], args[0])
            second = _memory(context, builder, kinds[5], args[5])
            into = _memory(context, builder, kinds[8], args[8])
            a_at, a_row, a_step, a_jump, b_at, b_step = *args[1:5], *args[6:8]
            c_at, c_row, times, depth = args[9:13]
            count = lambda k: ir.Constant(a_at.type, k)  # noqa: E731
            offsets = [builder.mul(a_row, count(r)) for r in range(rows)]
            places = [
                [
                    builder.add(builder.add(c_at, builder.mul(c_row, count(r))), count(q * WIDTH))
                    for q in range(n_vectors)
                ]
                for r in range(rows)
            ]
            sums = [
                [cgutils.alloca_once(builder, _VECTOR) for _ in range(n_vectors)]
                for _ in range(rows)
            ]
            for r in range(rows):
                for q in range(n_vectors):
                    before = _load(builder, into, places[r][q]) if adds else _constant(0)
                    builder.store(before, sums[r][q])
            with (
                cgutils.for_range(builder, times) as outer,
                cgutils.for_range(builder, depth) as inner,
            ):
                jumped = builder.add(a_at, builder.mul(outer.index, a_jump))
                left = builder.add(jumped, builder.mul(inner.index, a_step))
                index = builder.add(builder.mul(outer.index, depth), inner.index)
                right = builder.add(b_at, builder.mul(index, b_step))
                vectors = [
                    _load(builder, second, builder.add(right, count(q * WIDTH)))
                    for q in range(n_vectors)
                ]
                for r in range(rows):
                    number = builder.load(builder.gep(first, [builder.add(left, offsets[r])]))
                    factor = _everywhere(builder, number)
                    for q in range(n_vectors):
                        part = builder.fmul(factor, vectors[q], flags=_CONTRACT)
                        total = builder.fadd(part, builder.load(sums[r][q]), flags=_CONTRACT)
                        builder.store(total, sums[r][q])
            for r in range(rows):
                for q in range(n_vectors):
                    _store(builder, builder.load(sums[r][q]), into, places[r][q])
            return context.get_dummy_value()

        return signature, generate

    return product


# --- small linear maps L X Lᵀ of grids of pixels, all channels


def _combination(builder: Any, factors: np.ndarray, values: Sequence[Value]) -> Value:
    """Σ factor · value."""
    total = None
    for factor, value in zip(factors, values, strict=True):
        if factor == 0:
            continue
        part = value if abs(factor) == 1 else builder.fmul(value, _constant(abs(factor)))
        if total is None:
            total = part if factor > 0 else builder.fneg(part)
        elif factor > 0:
            total = builder.fadd(total, part)
        else:
            total = builder.fsub(total, part)
    return total


def _both_sides(builder: Any, matrix: np.ndarray, grid: Grid) -> Grid:
    half = [
        [_combination(builder, row, [line[j] for line in grid]) for j in range(len(grid))]
        for row in matrix
    ]
    return [[_combination(builder, row, line) for row in matrix] for line in half]


def _mapped(builder: Any, matrix: np.ndarray, source: Grid, target: Grid, channels: Value) -> None:
    """Reads a grid of pointers, maps it, and writes to another."""
    count = lambda k: ir.Constant(channels.type, k)  # noqa: E731
    with cgutils.for_range(builder, builder.udiv(channels, count(WIDTH))) as loop:
        place = builder.mul(loop.index, count(WIDTH))
        read = [[_load(builder, pointer, place) for pointer in line] for line in source]
        for values, pointers in zip(_both_sides(builder, matrix, read), target, strict=True):
            for value, pointer in zip(values, pointers, strict=True):
                _store(builder, value, pointer, place)


def _stack(builder: Any, memory: Value, begin: Value, step: Value, size: int) -> Grid:
    """Pointers to size × size places that lie ``step`` apart."""
    count = lambda k: ir.Constant(begin.type, k)  # noqa: E731
    return [
        [
            builder.gep(memory, [builder.add(begin, builder.mul(step, count(size * i + j)))])
            for j in range(size)
        ]
        for i in range(size)
    ]


def _window(builder: Any, memory: Value, where: Sequence[Value], outside: Value, size: int) -> Grid:
    """Pointers to size × size pixels of an image; ``outside`` where there is none."""
    image, top, left, height, width, channels = where
    count = lambda k: ir.Constant(top.type, k)  # noqa: E731
    pointers = []
    for di in range(size):
        i = builder.add(top, count(di))
        in_rows = builder.icmp_unsigned("<", i, height)  # −1 is a large number
        row = builder.mul(builder.add(builder.mul(image, height), i), width)
        pointers.append([])
        for dj in range(size):
            j = builder.add(left, count(dj))
            inside = builder.and_(in_rows, builder.icmp_unsigned("<", j, width))
            pixel = builder.gep(memory, [builder.mul(builder.add(row, j), channels)])
            pointers[-1].append(builder.select(inside, pixel, outside))
    return pointers


def window_to_stack(matrix: np.ndarray) -> Callable[..., Any]:
    """L X Lᵀ of a window of ``[N H W C]``, zero outside of the image, into a stack."""
    rows, columns = matrix.shape

    @intrinsic
    def read(typing, x, image, top, left, height, width, channels, zeros, v, v_at, v_step):
        n = types.intp
        signature = types.void(x, n, n, n, n, n, n, zeros, v, n, n)

        def generate(context, builder, signature, args):
            x, zeros, v = (_memory(context, builder, signature.args[k], args[k]) for k in (0, 7, 8))
            source = _window(builder, x, args[1:7], zeros, columns)
            target = _stack(builder, v, args[9], args[10], rows)
            _mapped(builder, matrix, source, target, args[6])
            return context.get_dummy_value()

        return signature, generate

    return read


def stack_to_window(matrix: np.ndarray) -> Callable[..., Any]:
    """L X Lᵀ of a stack into a window of ``[N H W C]``; what is outside of the image goes to
    ``nowhere``.
    """
    rows, columns = matrix.shape

    @intrinsic
    def write(typing, v, v_at, v_step, z, image, top, left, height, width, channels, nowhere):
        n = types.intp
        signature = types.void(v, n, n, z, n, n, n, n, n, n, nowhere)

        def generate(context, builder, signature, args):
            v, z, lost = (_memory(context, builder, signature.args[k], args[k]) for k in (0, 3, 10))
            source = _stack(builder, v, args[1], args[2], columns)
            target = _window(builder, z, args[4:10], lost, rows)
            _mapped(builder, matrix, source, target, args[9])
            return context.get_dummy_value()

        return signature, generate

    return write


def stack_to_stack(matrix: np.ndarray) -> Callable[..., Any]:
    """L X Lᵀ of a stack into another."""
    rows, columns = matrix.shape

    @intrinsic
    def map_stack(typing, v, v_at, v_step, u, u_at, u_step, channels):
        n = types.intp
        signature = types.void(v, n, n, u, n, n, n)

        def generate(context, builder, signature, args):
            v, u = (_memory(context, builder, signature.args[k], args[k]) for k in (0, 3))
            source = _stack(builder, v, args[1], args[2], columns)
            target = _stack(builder, u, args[4], args[5], rows)
            _mapped(builder, matrix, source, target, args[6])
            return context.get_dummy_value()

        return signature, generate

    return map_stack


product = _product(ROWS, _VECTORS, adds=False)
product_added = _product(ROWS, _VECTORS, adds=True)
product_transposed = _product(ROWS_ADDED, _VECTORS, adds=True)
product_of_nine = _product(9, _VECTORS_OF_NINE, adds=True)
