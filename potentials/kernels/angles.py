"""Sums over powers of a cosine, for all widths of symmetry functions at once, in registers.

Angular functions of one width are polynomials of the cosine: the sums of its powers are all that
is needed of the triplets, and on the way back one polynomial stands for all of them.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from potentials.kernels.compiling import emitted
from potentials.kernels.elementary import decay
from potentials.kernels.simd import FUSED, address, read, splat


def _decay(x: Any) -> Any:
    return decay(x)


def _number(builder: Any, pointer: Any, stride: Any, index: int) -> Any:
    """The number at ``index`` strides from a pointer."""
    place = builder.mul(stride, ir.Constant(stride.type, index))
    return builder.load(builder.gep(pointer, [place]))


@emitted
def closings(_: Any, square: Any, slopes: Any, place: Any, rows: Any) -> Any:
    """For every row: exp(slopes[place + row] x square)."""
    block = types.UniTuple(square, len(rows))

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = address(context, builder, sig.args[1], *arguments[1:3])
        one, made = ir.Constant(ir.IntType(64), 1), []
        for index in range(block.count):
            number = splat(builder, _number(builder, pointer, one, index), square.lanes)
            exponent = builder.fmul(number, arguments[0], flags=FUSED)
            made.append(context.compile_internal(builder, _decay, square(square), [exponent]))
        return cgutils.pack_array(builder, made)

    return block(square, slopes, types.intp, rows), code


@emitted
def weighed(_: Any, block: Any, array: Any, stride: Any, one: Any, other: Any) -> Any:
    """block[i] x array[one + i stride] x the vector at other + i stride."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        given, grid, step = arguments[:3]
        left = address(context, builder, sig.args[1], grid, arguments[3])
        right = address(context, builder, sig.args[1], grid, arguments[4])
        vector, made = context.get_value_type(block.dtype), []
        for index in range(block.count):
            number = splat(builder, _number(builder, left, step, index), block.dtype.lanes)
            place = builder.mul(step, ir.Constant(step.type, index))
            factor = read(builder, builder.gep(right, [place]), vector)
            factor = builder.fmul(factor, number, flags=FUSED)
            part = builder.extract_value(given, index)
            made.append(builder.fmul(part, factor, flags=FUSED))
        return cgutils.pack_array(builder, made)

    return block(block, array, types.intp, types.intp, types.intp), code


@emitted
def add_powers(_: Any, sums: Any, block: Any, height: Any, cosine: Any) -> Any:
    """Add height x block[i] x cosine^m to the sum at i x (number of powers) + m."""
    powers = sums.count // block.count

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        given, parts, height, cosine = arguments
        rows = [builder.extract_value(given, index) for index in range(sums.count)]
        for index in range(block.count):
            term = builder.fmul(builder.extract_value(parts, index), height, flags=FUSED)
            for power in range(powers):
                place = index * powers + power
                rows[place] = builder.fadd(rows[place], term, flags=FUSED)
                if power + 1 < powers:
                    term = builder.fmul(term, cosine, flags=FUSED)
        return cgutils.pack_array(builder, rows)

    return sums(sums, block, height, cosine), code


@emitted
def bend(
    _: Any, block: Any, cosine: Any, pull: Any, place: Any, slopes: Any, first: Any, powers: Any
) -> Any:
    """Sums over i of block[i] times P_i, dP_i/d(cosine), and slopes[first + i] x P_i.

    The coefficients of the polynomial P_i stand at pull[place + i x (number of powers)], constant
    term first; there are two or more.
    """
    made, count = types.UniTuple(block.dtype, 3), len(powers)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        parts, cosine = arguments[:2]
        lanes, one = block.dtype.lanes, ir.Constant(ir.IntType(64), 1)
        numbers = address(context, builder, sig.args[2], *arguments[2:4])
        rates = address(context, builder, sig.args[4], *arguments[4:6])

        def add(summed: Any, x: Any, y: Any) -> Any:
            product = builder.fmul(x, y, flags=FUSED)
            return product if summed is None else builder.fadd(summed, product, flags=FUSED)

        sums = [None, None, None]
        for index in range(block.count):
            part = builder.extract_value(parts, index)
            value, slope = _horner(builder, numbers, index * count, count, cosine)
            value = builder.fmul(value, part, flags=FUSED)
            rate = splat(builder, _number(builder, rates, one, index), lanes)
            sums[0] = value if sums[0] is None else builder.fadd(sums[0], value, flags=FUSED)
            sums[1] = add(sums[1], slope, part)
            sums[2] = add(sums[2], value, rate)
        return cgutils.pack_array(builder, sums)

    return made(block, cosine, pull, types.intp, slopes, types.intp, powers), code


def _horner(builder: Any, numbers: Any, first: int, count: int, x: Any) -> tuple[Any, Any]:
    """Value and derivative of a polynomial."""
    one, lanes = ir.Constant(ir.IntType(64), 1), x.type.count
    value = splat(builder, _number(builder, numbers, one, first + count - 1), lanes)
    slope = None
    for power in reversed(range(count - 1)):
        if slope is None:
            slope = value
        else:
            slope = builder.fadd(builder.fmul(slope, x, flags=FUSED), value, flags=FUSED)
        number = splat(builder, _number(builder, numbers, one, first + power), lanes)
        value = builder.fadd(builder.fmul(value, x, flags=FUSED), number, flags=FUSED)
    return value, slope
