"""Arrays that someone else owns, as compiled code passes them around: an address and a shape.

Numba counts references to its own arrays wherever they go; these are plain numbers.
"""

import operator
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.typing.templates import (
    AbstractTemplate,
    AttributeTemplate,
    infer_getattr,
    infer_global,
    signature,
)
from numba.extending import lower_builtin, lower_getattr, register_model

from potentials.kernels.compiling import compiled, emitted, typed


class Grid(types.Type):
    """Numba's type of a contiguous array that someone else owns."""

    def __init__(self, dtype: Any, ndim: int) -> None:
        super().__init__(name=f"Grid({dtype}, {ndim})")
        self.dtype = dtype
        self.ndim = ndim


@register_model(Grid)
class _GridModel(models.StructModel):
    def __init__(self, manager: Any, frontend: Any) -> None:
        members = [("data", types.CPointer(frontend.dtype))]
        members += [(f"n{axis}", types.intp) for axis in range(frontend.ndim)]
        super().__init__(manager, frontend, members)


def _proxy(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return cgutils.create_struct_proxy(kind)(context, builder, value=value)


def data_of(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Instructions for the address of the first entry."""
    return _proxy(context, builder, kind, value).data


def _pointer(context: Any, builder: Any, kind: Any, value: Any, place: list[Any]) -> Any:
    """Instructions for the address of what the first axes single out."""
    grid = _proxy(context, builder, kind, value)
    offset = None
    for axis in range(kind.ndim):
        if offset is not None:
            offset = builder.mul(offset, getattr(grid, f"n{axis}"))
        if axis < len(place):
            offset = place[axis] if offset is None else builder.add(offset, place[axis])
    return builder.gep(grid.data, [offset])


def _places(kind: Any) -> int | None:
    """Number of axes that an index singles out."""
    if isinstance(kind, types.Integer):
        return 1
    if isinstance(kind, types.BaseTuple) and all(isinstance(k, types.Integer) for k in kind):
        return len(kind)
    return None


def _index(kind: Any) -> Any:
    return types.intp if isinstance(kind, types.Integer) else types.UniTuple(types.intp, len(kind))


def _unpacked(builder: Any, kind: Any, value: Any) -> list[Any]:
    if isinstance(kind, types.Integer):
        return [value]
    return [builder.extract_value(value, axis) for axis in range(len(kind))]


@infer_global(operator.getitem)
class _Read(AbstractTemplate):
    def generic(self, arguments: Any, keywords: Any) -> Any:
        grid, index = arguments
        count = _places(index)
        if not isinstance(grid, Grid) or count is None or count > grid.ndim:
            return None
        left = grid.ndim - count
        return signature(Grid(grid.dtype, left) if left else grid.dtype, grid, _index(index))


@typed(lower_builtin(operator.getitem, Grid, types.Integer))
@typed(lower_builtin(operator.getitem, Grid, types.BaseTuple))
def _read(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
    grid, index = sig.args
    place = _unpacked(builder, index, arguments[1])
    pointer = _pointer(context, builder, grid, arguments[0], place)
    if len(place) == grid.ndim:
        return builder.load(pointer)
    made = cgutils.create_struct_proxy(sig.return_type)(context, builder)
    made.data = pointer
    given = _proxy(context, builder, grid, arguments[0])
    for axis in range(sig.return_type.ndim):
        setattr(made, f"n{axis}", getattr(given, f"n{axis + len(place)}"))
    return made._getvalue()  # noqa: SLF001


@infer_global(operator.setitem)
class _Write(AbstractTemplate):
    def generic(self, arguments: Any, keywords: Any) -> Any:
        grid, index, _ = arguments
        if not isinstance(grid, Grid) or _places(index) != grid.ndim:
            return None
        return signature(types.none, grid, _index(index), grid.dtype)


@typed(lower_builtin(operator.setitem, Grid, types.Integer, types.Any))
@typed(lower_builtin(operator.setitem, Grid, types.BaseTuple, types.Any))
def _write(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
    grid, index, _ = sig.args
    place = _unpacked(builder, index, arguments[1])
    builder.store(arguments[2], _pointer(context, builder, grid, arguments[0], place))
    return context.get_dummy_value()


@infer_getattr
class _Sizes(AttributeTemplate):
    key = Grid

    def resolve_shape(self, kind: Any) -> Any:
        return types.UniTuple(types.intp, kind.ndim)


@typed(lower_getattr(Grid, "shape"))
def _shape(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    grid = _proxy(context, builder, kind, value)
    return cgutils.pack_array(builder, [getattr(grid, f"n{axis}") for axis in range(kind.ndim)])


@infer_global(len)
class _Length(AbstractTemplate):
    def generic(self, arguments: Any, keywords: Any) -> Any:
        (grid,) = arguments
        return signature(types.intp, grid) if isinstance(grid, Grid) else None


@typed(lower_builtin(len, Grid))
def _length(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
    return _proxy(context, builder, sig.args[0], arguments[0]).n0


@emitted
def part_of(_: Any, grid: Any, start: Any, count: Any) -> Any:
    """``count`` entries of the first axis, from ``start`` on."""

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        made = _proxy(context, builder, grid, arguments[0])
        made.data = _pointer(context, builder, grid, arguments[0], [arguments[1]])
        made.n0 = arguments[2]
        return made._getvalue()  # noqa: SLF001

    return grid(grid, types.intp, types.intp), code


@compiled
def fill(grid: Any, number: Any) -> None:
    """Write one number into all entries of a grid of up to three axes."""
    flat = _flat(grid)
    for place in range(len(flat)):
        flat[place] = number


@emitted
def _flat(_: Any, grid: Any) -> Any:
    """The same entries along one axis."""
    line = Grid(grid.dtype, 1)

    def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        given = _proxy(context, builder, grid, arguments[0])
        made = cgutils.create_struct_proxy(line)(context, builder)
        made.data, made.n0 = given.data, given.n0
        for axis in range(1, grid.ndim):
            made.n0 = builder.mul(made.n0, getattr(given, f"n{axis}"))
        return made._getvalue()  # noqa: SLF001

    return line(grid), code
