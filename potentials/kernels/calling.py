"""Calls of compiled code by its address: who calls is compiled once, whatever the model."""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from potentials.kernels.compiling import compiled, emitted

_WORD = ir.IntType(64)
_POINTER = _WORD.as_pointer()


class Evaluator(NamedTuple):
    """Whatever evaluates structures, in one thread.

    Attributes:
        code: address of `potentials.kernels.structure.evaluate` for this model's types.
        model: address of the model's bundle.
        room: address of the working memory.
        cutoff: radius of the environment [Å].
        result: what is found.
    """

    code: int
    model: int
    room: int
    cutoff: float
    result: Any


@compiled
def evaluated(evaluator: Evaluator, batch: Any, m: Any, alone: Any) -> Any:
    """Evaluate one structure of a batch; says how it ended."""
    return _call(evaluator.code, evaluator.model, batch, m, alone, evaluator.room, evaluator.result)


@emitted
def _call(
    _: Any, code: Any, model: Any, batch: Any, m: Any, alone: Any, room: Any, result: Any
) -> Any:
    """The call itself, with arguments in the order of `evaluate`."""

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        place, model, batch, m, alone, room, result = arguments
        shape = ir.FunctionType(_WORD, [_POINTER, _POINTER, _WORD, _WORD, _POINTER, _POINTER])
        called = builder.inttoptr(place, shape.as_pointer())
        model, room = (builder.inttoptr(number, _POINTER) for number in (model, room))
        return builder.call(called, [model, batch, m, alone, room, result])

    number = types.int64
    return number(number, number, batch, number, number, number, result), emit
