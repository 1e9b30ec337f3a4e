"""Found first on PYTHONPATH: the wall clock of a process is off by what a file says.

The offset is the file's time of modification after 1e9 s, so that it is changed in one step. The
monotonic clock, like the kernel's, does not jump.
"""

import os
import time

PATH = os.environ.get("AGA_TEST_CLOCK")
ZERO = 10**9

if PATH:
    real_ns = time.time_ns

    def shifted_ns() -> int:
        """Nanoseconds since 1970, so it seems."""
        return real_ns() + os.stat(PATH).st_mtime_ns - ZERO * 10**9  # noqa: PTH116

    time.time_ns = shifted_ns
    time.time = lambda: shifted_ns() / 1e9
