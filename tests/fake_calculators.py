"""Calculators that fail in every way an engine can; named by import path, run in children."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Spring(Calculator):
    """Energy 1 eV per atom, no forces, a 3x3 stress; the others spoil it."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        count = len(self.atoms)
        self.results = {
            "energy": 1.0 * count,
            "forces": np.zeros((count, 3)),
            "stress": np.diag([1.0, 2.0, 3.0]) + 0.5 * (np.eye(3)[::-1] - np.diag([0, 1, 0])),
        }
        self.spoil()

    def spoil(self):
        pass


class Threads(Spring):
    """The energy is the number of threads that libraries may start."""

    def spoil(self):
        self.results["energy"] = float(os.environ["OMP_NUM_THREADS"])


class NotFinite(Spring):
    def spoil(self):
        self.results["energy"] = float("nan")


class NotFiniteForces(Spring):
    def spoil(self):
        self.results["forces"][0, 0] = np.inf


class TooFewForces(Spring):
    def spoil(self):
        self.results["forces"] = self.results["forces"][:-1]


class FlatForces(Spring):
    def spoil(self):
        self.results["forces"] = self.results["forces"].ravel()


class OddStress(Spring):
    def spoil(self):
        self.results["stress"] = np.zeros(9)


class Violent(Spring):
    def spoil(self):
        self.results["forces"][0, 0] = 1e4


class Unconverged(Spring):
    def spoil(self):
        raise RuntimeError("Did not converge!")


class Speechless(Spring):
    def spoil(self):
        assert "stress" not in self.results


class Abort(Spring):
    def spoil(self):
        os.abort()


class Killed(Spring):
    def spoil(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Quit(Spring):
    def spoil(self):
        os._exit(0)


class Babble(Spring):
    """Says a gigabyte of nothing and ends; the file has holes, so that it takes no room."""

    def spoil(self):
        sys.stdout.flush()
        os.ftruncate(1, 2**30)
        os.lseek(1, 0, os.SEEK_END)
        os.write(1, bytes(range(256)) * 8 + b"\nout of\x1b[31m paper\x07\n")
        os._exit(3)


class Exit(Spring):
    def spoil(self):
        sys.exit(3)


class Hang(Spring):
    def spoil(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)


class Hog(Spring):
    def spoil(self):
        kept = []
        while True:
            kept.append(np.ones(10_000_000))


class NoStress(Spring):
    implemented_properties = ("energy", "forces")

    def spoil(self):
        del self.results["stress"]


class DiesOnce(Spring):
    """Killed while the file ``marker`` is not there."""

    def __init__(self, marker):
        super().__init__()
        self.marker = Path(marker)

    def spoil(self):
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Waits(Spring):
    """Says that it runs by the file ``running`` and goes on when the file ``go`` is there."""

    def __init__(self, running, go):
        super().__init__()
        self.running, self.go = Path(running), Path(go)

    def spoil(self):
        self.running.write_text(str(os.getpid()))
        while not self.go.exists():
            time.sleep(0.02)


class CrashingEMT:
    """EMT that comes to grief at a single point of a process: the first of them at number
    ``calls[0]``, the second at ``calls[1]``, and so on; ``marker`` holds their pids.

    How: ``kill`` (from outside), ``raise`` (an exception), ``wait`` (until somebody kills it).
    """

    def __new__(cls, marker, calls, how="kill"):
        from ase.calculators.emt import EMT

        class Counted(EMT):
            count = 0

            def calculate(self, *args, **kwargs):
                type(self).count += 1
                before = len(Path(marker).read_text().split()) if Path(marker).exists() else 0
                if before < len(calls) and type(self).count == calls[before]:
                    with Path(marker).open("a") as file:
                        file.write(f"{os.getpid()}\n")
                    if how == "raise":
                        raise RuntimeError("out of luck")
                    if how == "wait":
                        time.sleep(600)
                    os.kill(os.getpid(), signal.SIGKILL)
                super().calculate(*args, **kwargs)

        return Counted()


class ScatteringEMT:
    """EMT whose forces are off by ``scatter`` [eV/Å], the same geometry always alike."""

    def __new__(cls, scatter):
        from ase.calculators.emt import EMT

        class Scattering(EMT):
            def calculate(self, *args, **kwargs):
                super().calculate(*args, **kwargs)
                seed = np.abs(np.round(1e6 * self.atoms.positions)).astype(np.int64)
                noise = np.random.default_rng(seed.ravel()).standard_normal(seed.shape)
                self.results["forces"] = self.results["forces"] + scatter * noise

        return Scattering()


class DiskFull(Spring):
    """As where a program cannot write; ``wrapped`` as libraries report it."""

    def __init__(self, wrapped=False):
        super().__init__()
        self.wrapped = wrapped

    def spoil(self):
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "density.gpw")
        if self.wrapped:
            raise RuntimeError("writing failed") from error
        raise error


class FailsLater:
    """EMT that gives up after some single points."""

    def __new__(cls, after):
        from ase.calculators.emt import EMT

        class Failing(EMT):
            left = after

            def calculate(self, *args, **kwargs):
                if self.left == 0:
                    raise RuntimeError("no further: the density has diverged")
                self.left -= 1
                super().calculate(*args, **kwargs)

        return Failing()
