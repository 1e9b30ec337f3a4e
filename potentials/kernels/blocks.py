"""Tuples of vectors: small blocks of matrix products whose results stay in registers."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from potentials.kernels.compiling import emitted
from potentials.kernels.simd import FUSED, Vec, address, read, splat, vector_of, write


def _at(builder: Any, pointer: Any, stride: Any, index: int) -> Any:
    if index == 0:
        return pointer
    return builder.gep(pointer, [builder.mul(stride, ir.Constant(stride.type, index))])


def _unpacked(builder: Any, block: Any, count: int) -> list[Any]:
    return [builder.extract_value(block, index) for index in range(count)]


@emitted
def zeros(_: Any, array: Any, rows: Any) -> Any:
    """As many zero vectors of the type of `simd.load` as the tuple ``rows`` has entries."""
    block = types.UniTuple(vector_of(array.dtype), len(rows))
    return block(array, rows), _zeros(block)


@emitted
def zeros_of_channels(_: Any, array: Any, channels: Any, rows: Any) -> Any:
    """As many zero vectors with one lane a channel as the tuple ``rows`` has entries."""
    block = types.UniTuple(Vec(array.dtype, len(channels)), len(rows))
    return block(array, channels, rows), _zeros(block)


def _zeros(block: Any) -> Any:
    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = context.get_value_type(block.dtype)
        zero = ir.Constant(vector, [0.0] * block.dtype.lanes)
        return cgutils.pack_array(builder, [zero] * block.count)

    return code


@emitted
def add_outer(_: Any, block: Any, array: Any, place: Any, stride: Any, vector: Any) -> Any:
    """block[i] + array[place + i stride] x vector."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        rows = _unpacked(builder, arguments[0], block.count)
        pointer = address(context, builder, sig.args[1], *arguments[1:3])
        for index, row in enumerate(rows):
            number = builder.load(_at(builder, pointer, arguments[3], index))
            product = builder.fmul(splat(builder, number, vector.lanes), arguments[4], flags=FUSED)
            rows[index] = builder.fadd(row, product, flags=FUSED)
        return cgutils.pack_array(builder, rows)

    return block(block, array, types.intp, types.intp, vector), code


@emitted
def contract(_: Any, block: Any, array: Any, place: Any, rows: Any) -> Any:
    """For every row: the sum over i of array[place + row len(block) + i] x block[i]."""
    made = types.UniTuple(block.dtype, len(rows))

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        parts = _unpacked(builder, arguments[0], block.count)
        pointer = address(context, builder, sig.args[1], *arguments[1:3])
        sums = []
        for row in range(made.count):
            summed = None
            for index, part in enumerate(parts):
                offset = ir.Constant(ir.IntType(64), row * block.count + index)
                number = builder.load(builder.gep(pointer, [offset]))
                product = builder.fmul(splat(builder, number, block.dtype.lanes), part, flags=FUSED)
                summed = product if summed is None else builder.fadd(summed, product, flags=FUSED)
            sums.append(summed)
        return cgutils.pack_array(builder, sums)

    return made(block, array, types.intp, rows), code


@emitted
def dot(_: Any, one: Any, other: Any) -> Any:
    """Sum of one[i] x other[i]."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        summed = None
        for x, y in zip(*(_unpacked(builder, a, one.count) for a in arguments), strict=True):
            product = builder.fmul(x, y, flags=FUSED)
            summed = product if summed is None else builder.fadd(summed, product, flags=FUSED)
        return summed

    return one.dtype(one, one), code


@emitted
def load_block(_: Any, array: Any, place: Any, stride: Any, rows: Any) -> Any:
    """Vectors at place, place + stride, ..., as many as the tuple ``rows`` has entries."""
    block = types.UniTuple(vector_of(array.dtype), len(rows))

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = address(context, builder, sig.args[0], *arguments[:2])
        vector = context.get_value_type(block.dtype)
        made = [
            read(builder, _at(builder, pointer, arguments[2], index), vector)
            for index in range(block.count)
        ]
        return cgutils.pack_array(builder, made)

    return block(array, types.intp, types.intp, rows), code


@emitted
def store_block(_: Any, array: Any, place: Any, stride: Any, block: Any) -> Any:
    """The inverse of `load_block`, for vectors of any number of lanes."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = address(context, builder, sig.args[0], *arguments[:2])
        for index, row in enumerate(_unpacked(builder, arguments[3], block.count)):
            write(builder, row, _at(builder, pointer, arguments[2], index))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, block), code


@emitted
def store_turned(_: Any, array: Any, place: Any, block: Any) -> Any:
    """Write a block so that its rows become columns: lane by lane, all rows of it."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = address(context, builder, sig.args[0], *arguments[:2])
        rows = _unpacked(builder, arguments[2], block.count)
        write(builder, _turned(builder, rows), pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, block), code


def _turned(builder: Any, rows: list[Any]) -> Any:
    """One long vector: lane 0 of all rows, lane 1 of all rows, ...; 2, 4, 8, ... rows."""
    while len(rows) > 1:
        half = len(rows) // 2
        rows = [_joined(builder, rows[i], rows[i + half]) for i in range(half)]
    return rows[0]


def _joined(builder: Any, one: Any, other: Any) -> Any:
    """The entries of both vectors in turns."""
    size = one.type.count
    order = [index + size * which for index in range(size) for which in (0, 1)]
    mask = ir.Constant(ir.VectorType(ir.IntType(32), 2 * size), order)
    return builder.shuffle_vector(one, other, mask)
