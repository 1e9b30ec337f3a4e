"""Vectors of a fixed number of lanes as a Numba type: what the compiler cannot be left to find.

A `Vec` is one LLVM vector: on a processor with wide registers it is one of them, elsewhere LLVM
splits it. Loops over neighbours are then written once, with explicit lanes, and do not depend on
what an automatic vectoriser makes of short trip counts.

None of these operations assumes that numbers are finite: NaN goes through all of them.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, register_model

from potentials.kernels.compiling import emitted
from potentials.kernels.grids import data_of

#: bytes of the widest registers; lanes of a vector over neighbours or columns follow from it
WIDTH = 64
#: products and sums may be fused to one rounding
FUSED = ("contract",)


class Vec(types.Type):
    """Numba's type of a vector of ``lanes`` numbers of type ``dtype``."""

    def __init__(self, dtype: Any, lanes: int) -> None:
        super().__init__(name=f"Vec({dtype}, {lanes})")
        self.dtype = dtype
        self.lanes = lanes


@register_model(Vec)
class _VecModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Any) -> None:
        number = manager.lookup(frontend.dtype).get_value_type()
        super().__init__(manager, frontend, ir.VectorType(number, frontend.lanes))


def vector_of(dtype: Any) -> Vec:
    """The vector over neighbours or columns of numbers of type ``dtype``."""
    return Vec(dtype, 8 * WIDTH // dtype.bitwidth)


def splat(builder: Any, number: Any, lanes: int) -> Any:
    """Instructions for a vector with one number in all lanes."""
    undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    return builder.shuffle_vector(first, undefined, mask)


def address(context: Any, builder: Any, grid: Any, value: Any, place: Any) -> Any:
    """Instructions for the address of an entry of a flat grid."""
    return builder.gep(data_of(context, builder, grid, value), [place])


def read(builder: Any, pointer: Any, vector: Any) -> Any:
    """Instructions that load a vector; no more than its numbers need be aligned."""
    made = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    made.align = 4 if isinstance(vector.element, ir.FloatType) else 8
    return made


def write(builder: Any, vector: Any, pointer: Any) -> None:
    """Instructions that store a vector."""
    made = builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()))
    made.align = 4 if isinstance(vector.type.element, ir.FloatType) else 8


def _arithmetic(function: Any, name: str) -> None:
    """Teach Numba ``function`` on vectors and on a vector with a number."""

    def typed(self: Any, arguments: Any, keywords: Any) -> Any:
        vector = next((a for a in arguments if isinstance(a, Vec)), None)
        if vector is None or len(arguments) != 2 or keywords:
            return None
        if any(a != vector and not isinstance(a, types.Number) for a in arguments):
            return None
        return signature(vector, *(a if a == vector else vector.dtype for a in arguments))

    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        wide = [
            value if isinstance(kind, Vec) else splat(builder, value, sig.return_type.lanes)
            for kind, value in zip(sig.args, arguments, strict=True)
        ]
        return getattr(builder, name)(*wide, flags=FUSED)

    infer_global(function)(type(f"_{name}", (AbstractTemplate,), {"generic": typed}))
    for kinds in ((Vec, Vec), (Vec, types.Float), (types.Float, Vec)):
        lower_builtin(function, *kinds)(lowered)


for _function, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_function, _name)


def _called(name: str, count: int) -> Any:
    """A function of vectors that LLVM has."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = sig.return_type
        kind = context.get_value_type(vector)
        full = f"llvm.{name}.v{vector.lanes}f{vector.dtype.bitwidth}"
        shape = ir.FunctionType(kind, [kind] * len(arguments))
        return builder.call(cgutils.get_or_insert_function(builder.module, shape, full), arguments)

    if count == 1:
        return emitted(lambda typing_context, x: (x(x), code))
    return emitted(lambda typing_context, x, y: (x(x, x), code))


square_root = _called("sqrt", 1)
magnitude = _called("fabs", 1)
#: |x| with the sign of y
with_sign_of = _called("copysign", 2)


@emitted
def where_above(_: Any, x: Any, limit: Any, then: Any, otherwise: Any) -> Any:
    """``then`` (a number) in the lanes where x > ``limit`` (a number), else ``otherwise``."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, bound, number, kept = arguments
        above = builder.fcmp_ordered(">", value, splat(builder, bound, x.lanes))
        return builder.select(above, splat(builder, number, x.lanes), kept)

    return x(x, x.dtype, x.dtype, x), code


@emitted
def positive_part(_: Any, x: Any) -> Any:
    """max(x, 0), NaN kept."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        zero = ir.Constant(arguments[0].type, [0.0] * x.lanes)
        below = builder.fcmp_ordered("<", arguments[0], zero)
        return builder.select(below, zero, arguments[0])

    return x(x), code


@emitted
def larger(_: Any, x: Any, y: Any) -> Any:
    """The larger in every lane; NaN in y is kept."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return x(x, x), code


@emitted
def bits_below(_: Any, x: Any, limit: Any) -> Any:
    """An integer whose bits are the lanes where x < ``limit`` (a number)."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        below = builder.fcmp_ordered("<", arguments[0], splat(builder, arguments[1], x.lanes))
        mask = builder.bitcast(below, ir.IntType(x.lanes))
        return builder.zext(mask, ir.IntType(64))

    return types.int64(x, x.dtype), code


@emitted
def lowest_bit(_: Any, bits: Any) -> Any:
    """Position of the lowest bit that is set."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


@emitted
def power_of_two(_: Any, shifted: Any) -> Any:
    """2^n for whole numbers n that were added to 1.5 x 2^(digits of the mantissa)."""
    digits, bias = (23, 127) if shifted.dtype.bitwidth == 32 else (52, 1023)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        whole = ir.VectorType(ir.IntType(shifted.dtype.bitwidth), shifted.lanes)
        raw = builder.bitcast(arguments[0], whole)
        exponent = builder.add(raw, ir.Constant(whole, [bias] * shifted.lanes))
        moved = builder.shl(exponent, ir.Constant(whole, [digits] * shifted.lanes))
        return builder.bitcast(moved, arguments[0].type)

    return shifted(shifted), code


@emitted
def total(_: Any, x: Any) -> Any:
    """Sum over the lanes, by halves."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, lanes = arguments[0], x.lanes
        while lanes > 1:
            lanes //= 2
            parts = [_part(builder, value, start, lanes) for start in (0, lanes)]
            value = builder.fadd(*parts)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.dtype(x), code


def _part(builder: Any, vector: Any, start: int, count: int) -> Any:
    whole = ir.VectorType(ir.IntType(32), count)
    mask = ir.Constant(whole, list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


@emitted
def largest(_: Any, x: Any) -> Any:
    """Largest lane; lanes that are NaN may be lost."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value, lanes = arguments[0], x.lanes
        while lanes > 1:
            lanes //= 2
            one, other = (_part(builder, value, start, lanes) for start in (0, lanes))
            value = builder.select(builder.fcmp_ordered(">", one, other), one, other)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.dtype(x), code


@emitted
def load(_: Any, array: Any, place: Any) -> Any:
    """A vector over neighbours or columns from a flat array."""
    return _load(array, vector_of(array.dtype), ())


@emitted
def load_channels(_: Any, array: Any, place: Any, channels: Any) -> Any:
    """A vector with as many lanes as the tuple ``channels`` has entries."""
    return _load(array, Vec(array.dtype, len(channels)), (channels,))


def _load(array: Any, vector: Vec, more: tuple[Any, ...]) -> Any:
    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = address(context, builder, sig.args[0], *arguments[:2])
        return read(builder, pointer, context.get_value_type(vector))

    return vector(array, types.intp, *more), code


@emitted
def store(_: Any, array: Any, place: Any, vector: Any) -> Any:
    """Write a vector into a flat array."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = address(context, builder, sig.args[0], *arguments[:2])
        write(builder, arguments[2], pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@emitted
def filled(_: Any, array: Any, number: Any) -> Any:
    """A vector of the type of `load` with one number in all lanes."""
    vector = vector_of(array.dtype)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return splat(builder, arguments[1], vector.lanes)

    return vector(array, array.dtype), code


@emitted
def filled_channels(_: Any, array: Any, number: Any, channels: Any) -> Any:
    """A vector of the type of `load_channels` with one number in all lanes."""
    vector = Vec(array.dtype, len(channels))

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return splat(builder, arguments[1], vector.lanes)

    return vector(array, array.dtype, channels), code


@emitted
def lanes(_: Any, array: Any) -> Any:
    """Lanes of the vectors that `load` takes from this array: a constant for the compiler."""
    count = vector_of(array.dtype).lanes

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return context.get_constant(types.int64, count)

    return types.int64(array), code
