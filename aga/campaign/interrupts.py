"""Ctrl-C and SIGTERM end a campaign, at moments that bear it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

#: [s] between two looks at whether an import has ended
AGAIN_S = 0.05
_IMPORTING = "<frozen importlib._bootstrap>"


@contextmanager
def held_while_importing() -> Iterator[None]:
    """Let Ctrl-C wait for the end of an import.

    Compiled modules do not bear an exception in their middle: torch ended the process ("terminate
    called after throwing an instance of 'pybind11::error_already_set'"), and of what was left half
    made functions failed later, with a SystemError ("bad call flags") or a segmentation fault.
    """
    main = threading.current_thread() is threading.main_thread()
    # ignored, where a shell has started this in the background, or somebody else's
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def polite() -> Iterator[Callable[[], None]]:
    """Let SIGTERM end a campaign as Ctrl-C does.

    Gives a function that raises an interrupt again which Python has thrown away: it does so with
    all that is raised where an object is deleted, and says so on standard error.
    """
    lost = False
    hook = sys.unraisablehook

    def unraisable(what: "sys.UnraisableHookArgs") -> None:
        nonlocal lost
        if lost or isinstance(what.exc_value, KeyboardInterrupt):
            lost = True  # what fails after it was left half done by it
        else:
            hook(what)

    def once_more() -> None:
        if lost:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, _end)
    sys.unraisablehook = unraisable
    try:
        with held_while_importing():
            yield once_more
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """On SIGINT: raise it, or have it come again."""
    if not _importing(frame):
        raise KeyboardInterrupt
    # no thread with a clock: its start takes a lock that the main thread may hold
    signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S)


def _end(_number: int, _frame: FrameType | None) -> None:
    """As SIGINT it waits where workers are half started or half ended.

    A shell may have had SIGINT ignored, because it started this in the background.
    """
    signal.signal(signal.SIGINT, _interrupt)
    signal.raise_signal(signal.SIGINT)


def _importing(frame: FrameType | None) -> bool:
    """Whether a frame belongs to an import, be it far below."""
    while frame is not None and frame.f_code.co_filename != _IMPORTING:
        frame = frame.f_back
    return frame is not None
