"""EMT that fails on some structures, always on the same ones; named by import path."""

import os
import signal
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

#: shares of the structures
HANG, CRASH, NAN, RAISE = 0.08, 0.2, 0.3, 0.4


def mood_of(positions: Any) -> float:
    """A number from 0 to 1 that follows from the positions (N, 3) [Å]."""
    return zlib.crc32((np.round(positions, 4) + 0.0).tobytes()) / 2**32


class Moody(EMT):
    """What happens follows from the geometry."""

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        mood = mood_of(self.atoms.positions)
        if mood < HANG:
            time.sleep(1000)
        elif mood < CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        elif mood < NAN:
            self.results["energy"] = float("nan")
        elif mood < RAISE:
            raise RuntimeError("did not converge")


class Gated(EMT):
    """EMT that leaves a mark in a folder and waits there as long as the file ``hold`` exists."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = Path(folder)

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        if (self._folder / "hold").exists():
            (self._folder / f"held-{os.getpid()}").touch()
        while (self._folder / "hold").exists():
            time.sleep(0.05)
        super().calculate(atoms, properties, system_changes)


class Slow(EMT):
    """EMT that takes its time [s]."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        time.sleep(self._seconds)
        super().calculate(atoms, properties, system_changes)
