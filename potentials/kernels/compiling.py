"""How everything here is compiled: the same settings in one place, typed for the type checker."""

import hashlib
import logging
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numba.extending
from numba.core.caching import FunctionCache

F = TypeVar("F", bound=Callable[..., Any])

#: products and sums may be fused to one rounding, and nothing else: any further licence to reorder
#: is also a licence to assume that NaN never occurs, and NaN has to be found
SETTINGS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}

#: Python never calls inner functions, so that nothing has to be compiled to take its objects apart
_INNER = SETTINGS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _sources() -> str:
    """A hash of all files of this folder: what is compiled in one depends on the others."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Kept(FunctionCache):
    """Numba's store of machine code on disk, which also says what takes so long."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._name = function.__name__
        self._began = 0.0

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), _sources())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        found = super().load_overload(sig, target_context)
        if found is None:
            self._began = time.perf_counter()
            _log.info(
                "compiling %s for this processor, once, to be kept in %s; this takes some seconds",
                self._name,
                self.cache_path,
            )
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        super().save_overload(sig, data)
        seconds = time.perf_counter() - self._began
        _log.info("compiled %s in %.1f s", self._name, seconds)


def entry(function: F) -> F:
    """What is called from Python: compiled at its first call, kept on disk for the next process."""
    made: Any = numba.njit(**SETTINGS)(function)
    try:
        made._cache = _Kept(function)  # noqa: SLF001  # what njit(cache=True) does with Numba's own
    except RuntimeError as error:
        _log.warning("no folder to keep compiled code in: it is compiled every time (%s)", error)
    result: F = made
    return result


def address_of(function: Any, *arguments: Any) -> int:
    """Where the code of an entry for arguments of these types is, for others to call it."""
    kinds = tuple(numba.typeof(argument) for argument in arguments)
    function.compile(kinds)
    made = function.overloads[kinds]
    place: int = made.library.get_pointer_to_function(made.fndesc.llvm_cfunc_wrapper_name)
    return place


def compiled(function: F) -> F:
    """What compiled code calls."""
    made: F = numba.njit(**_INNER)(function)
    return made


def inlined(function: F) -> F:
    """The same where a call would cost: arguments must stay in registers."""
    made: F = numba.njit(forceinline=True, **_INNER)(function)
    return made


def typed(decorator: Any) -> Callable[[F], F]:
    """One of Numba's decorators, which have no types."""
    made: Callable[[F], F] = decorator
    return made


def emitted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that writes its own machine-independent instructions.

    Its first argument is Numba's, so that it is called without.
    """
    made: Callable[..., Any] = numba.extending.intrinsic(function)
    return made
