"""Bundles: many arrays and numbers as one address, for compiled code.

Numba hands every field of every tuple to every function: with dozens of arrays that is most of the
time of small calls, and of compilation. A `Bundle` is one address, of a list of numbers, addresses
and shapes. Python keeps the arrays alive.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import (
    NativeValue,
    lower_getattr_generic,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.numpy_support import from_dtype
from numpy.typing import NDArray

from potentials.kernels.compiling import typed
from potentials.kernels.grids import Grid
from potentials.kernels.simd import WIDTH

_WORD = ir.IntType(64)


class BundleType(types.Type):
    """Numba's type of a bundle: its name, and name and type of every part."""

    def __init__(self, label: str, parts: tuple[tuple[str, Any], ...]) -> None:
        inside = ", ".join(f"{name}: {kind}" for name, kind in parts)
        super().__init__(name=f"{label}({inside})")
        self.label = label
        self.parts = parts

    def find(self, name: str) -> tuple[int, Any]:
        """First word and type of a part."""
        place = 0
        for own, kind in self.parts:
            if own == name:
                return place, kind
            place += _words(kind)
        raise KeyError(name)


@register_model(BundleType)
class _BundleModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend: Any) -> None:
        super().__init__(manager, frontend, _WORD.as_pointer())


def _words(kind: Any) -> int:
    if isinstance(kind, Grid):
        return 1 + kind.ndim
    return 0 if isinstance(kind, types.BaseTuple) else 1


class Bundle:
    """A named tuple of arrays, numbers and bundles, laid out for compiled code.

    Arrays are used in place: what Python writes into them, compiled code sees, and the reverse.
    A tuple of numbers is no more than its length, which is known when code is compiled.

    Args:
        parts: the named tuple; arrays must be contiguous.
    """

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        self._words = np.array([word for part in parts for word in _numbers(part)], dtype=np.int64)
        self.address = self._words.ctypes.data
        named = zip(parts._fields, map(_type_of, parts), strict=True)
        # the name that Numba looks for
        self._numba_type_ = BundleType(type(parts).__name__, tuple(named))


def _numbers(part: Any) -> Iterator[int]:
    if isinstance(part, Bundle):
        yield part.address
    elif isinstance(part, np.ndarray):
        if not part.flags.c_contiguous:
            raise ValueError(f"an array of a bundle must be contiguous, got strides {part.strides}")
        yield from (part.ctypes.data, *part.shape)
    elif isinstance(part, float):
        yield int(np.float64(part).view(np.int64))
    elif isinstance(part, int):
        yield part


def _type_of(part: Any) -> Any:
    if isinstance(part, Bundle):
        return part._numba_type_  # the name that Numba looks for
    if isinstance(part, np.ndarray):
        return Grid(from_dtype(part.dtype), part.ndim)
    if isinstance(part, tuple):
        return types.UniTuple(types.int64, len(part))
    return types.float64 if isinstance(part, float) else types.int64


@typed(typeof_impl.register(Bundle))
def _typeof(value: Bundle, _: Any) -> Any:
    return value._numba_type_


@typed(unbox(BundleType))
def _unbox(kind: Any, value: Any, context: Any) -> Any:
    number = context.pyapi.object_getattr_string(value, "address")
    pointer = context.pyapi.long_as_voidptr(number)
    context.pyapi.decref(number)
    made = context.builder.bitcast(pointer, _WORD.as_pointer())
    return NativeValue(
        made, is_error=cgutils.is_not_null(context.builder, context.pyapi.err_occurred())
    )


def aligned(count: int, dtype: Any) -> NDArray[Any]:
    """Zeros that begin at a whole vector."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(count + WIDTH // size, dtype=dtype)
    start = (-raw.ctypes.data % WIDTH) // size
    return raw[start : start + count]


def up(count: int, multiple: int) -> int:
    """The smallest multiple that is not below ``count``."""
    return -(-count // multiple) * multiple


# --- parts of a bundle -----------------------------------------------------------------------


@infer_getattr
class _Parts(AttributeTemplate):
    key = BundleType

    def generic_resolve(self, kind: Any, name: str) -> Any:
        return kind.find(name)[1]


@typed(lower_getattr_generic(BundleType))
def _part(context: Any, builder: Any, bundle: Any, value: Any, name: str) -> Any:
    place, kind = bundle.find(name)

    def word(index: int) -> Any:
        read = builder.load(builder.gep(value, [ir.Constant(_WORD, place + index)]))
        # nobody writes into a bundle while compiled code runs
        read.set_metadata("invariant.load", builder.module.add_metadata([]))
        return read

    if isinstance(kind, types.BaseTuple):
        return context.get_constant_generic(builder, kind, (0,) * len(kind))
    if isinstance(kind, Grid):
        made = cgutils.create_struct_proxy(kind)(context, builder)
        made.data = builder.inttoptr(word(0), made.data.type)
        for axis in range(kind.ndim):
            setattr(made, f"n{axis}", word(1 + axis))
        return made._getvalue()  # noqa: SLF001
    if isinstance(kind, BundleType):
        return builder.inttoptr(word(0), _WORD.as_pointer())
    return builder.bitcast(word(0), context.get_value_type(kind))
