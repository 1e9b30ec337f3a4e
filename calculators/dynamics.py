"""What molecular dynamics on an ensemble shows: energies, how far to trust them, distances."""

import argparse
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.neighborlist import neighbor_list
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def options(description: str, *, dynamics: str, trajectory: str) -> argparse.ArgumentParser:
    """What every script of molecular dynamics can be told.

    Args:
        description: of the script.
        dynamics: default ensemble, "nve" or "nvt".
        trajectory: default file of the structures.
    """
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("ensemble", help="folder of a trained ensemble, e.g. RUN/models/latest")
    add("structure", help="any file that ASE reads: CIF, POSCAR, extxyz, ...")
    add("--dynamics", choices=("nve", "nvt"), default=dynamics, help="nvt: Langevin")
    add("--temperature", type=float, default=300.0, help="[K]")
    add("--friction-per-ps", type=float, default=10.0, help="of nvt [1/ps]")
    add("--timestep-fs", type=float, default=1.0, help="[fs]")
    add("--steps", type=int, default=1000)
    add("--every", type=int, default=10, help="steps between saved structures")
    add("--repeat", type=int, nargs="+", default=[1], help="cells: one number or 3")
    add("--trajectory", default=trajectory, help="where the structures go")
    add("--alarm-mev", type=float, default=20.0, help="spread to warn of [meV/atom]")
    add("--seed", type=int, default=0)
    return parser


def repeated(atoms: Atoms, cells: list[int]) -> Atoms:
    """The structure so many times along every axis; one number goes for all three."""
    return atoms.repeat(cells * 3 if len(cells) == 1 else cells)


@dataclass(frozen=True, slots=True)
class Moment:
    """One saved step.

    Attributes:
        time_ps: since the start [ps].
        potential: [eV].
        kinetic: [eV].
        spread: calibrated standard deviation of the members' energies [eV/atom]; NaN for one
            member.
        extrapolating: whether a descriptor, or a mean over atoms, leaves the training data.
    """

    time_ps: float
    potential: float
    kinetic: float
    spread: float
    extrapolating: bool


@dataclass(slots=True)
class Trace:
    """The saved steps of a run of ``n_atoms`` atoms, in order."""

    n_atoms: int
    moments: list[Moment] = field(default_factory=list)

    def of(self, name: str) -> FloatArray:
        """One attribute of all moments (T,)."""
        return np.array([getattr(moment, name) for moment in self.moments], dtype=np.float64)

    def total(self) -> FloatArray:
        """Potential and kinetic energy together [eV/atom] (T,)."""
        both = self.of("potential") + self.of("kinetic")
        return np.asarray(both / self.n_atoms, dtype=np.float64)

    def temperature(self) -> FloatArray:
        """[K] (T,), with three degrees of freedom an atom."""
        degrees = 3.0 * self.n_atoms * float(units.kB)
        return np.asarray(2.0 * self.of("kinetic") / degrees, dtype=np.float64)

    def drift(self) -> float:
        """Slope of the total energy by least squares [eV/atom/ps]; 0 for a single moment."""
        if len(self.moments) < 2:
            return 0.0
        time = self.of("time_ps") - self.of("time_ps").mean()
        return float(time @ self.total() / (time @ time))

    def lines(self, *, conserved: bool, alarm: float) -> list[str]:
        """What a reader wants to know at the end.

        Args:
            conserved: whether the total energy should stay (no thermostat).
            alarm: spreads above this are told [eV/atom].
        """
        temperature = self.temperature()
        made = [
            f"{self.of('time_ps')[-1]:.3f} ps, {self.n_atoms} atoms, temperature "
            f"{temperature.mean():.0f} K (standard deviation {temperature.std():.0f} K)"
        ]
        if conserved:
            total, kinetic = self.total(), self.of("kinetic").mean() / self.n_atoms
            made.append(
                f"total energy: drift {1e3 * self.drift():+.3g} meV/atom/ps, standard deviation "
                f"{1e3 * total.std():.3g} meV/atom; kinetic energy {1e3 * kinetic:.3g} meV/atom"
            )
        return made + self.warnings(alarm)

    def warnings(self, alarm: float) -> list[str]:
        """Where the ensemble should not be trusted."""
        spread, beyond = self.of("spread"), int(self.of("extrapolating").sum())
        made = []
        if spread.max() > alarm:
            first = self.moments[int(np.argmax(spread > alarm))].time_ps
            made.append(
                f"warning: the members disagree by up to {1e3 * spread.max():.0f} meV/atom (more "
                f"than {1e3 * alarm:g} from {first:.3f} ps on): label such structures and retrain"
            )
        if beyond:
            made.append(
                f"warning: {beyond} of {len(self.moments)} saved structures are beyond the range "
                "of the training data"
            )
        return made


class PairDistribution:
    """Radial distribution functions, averaged over the structures that are added.

    g_ab(r) = V n_ab(r) / (N_a N_b 4 pi r^2 dr), where n_ab(r) counts ordered pairs in a shell; 1
    where there is no order. Any cell will do, since all images within the radius are counted.

    Args:
        radius: largest distance [Å].
        bins: number of shells.
    """

    def __init__(self, radius: float, bins: int) -> None:
        self.edges = np.linspace(0.0, radius, bins + 1)
        self._sums: dict[tuple[str, str], FloatArray] = {}
        self._count = 0

    @property
    def distances(self) -> FloatArray:
        """Middles of the shells [Å] (bins,)."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    def add(self, atoms: Atoms) -> None:
        """Count the pairs of a structure that is periodic in three directions."""
        first, second, distance = neighbor_list("ijd", atoms, float(self.edges[-1]))
        symbols = np.array(atoms.get_chemical_symbols())
        shells = 4.0 / 3.0 * np.pi * np.diff(self.edges**3)
        names = sorted(set(symbols))
        for place, a in enumerate(names):
            for b in names[place:]:
                own = (symbols[first] == a) & (symbols[second] == b)
                pairs = np.histogram(distance[own], self.edges)[0]
                density = (symbols == a).sum() * (symbols == b).sum() / atoms.get_volume()
                found = pairs / (density * shells)
                self._sums[a, b] = self._sums.get((a, b), np.zeros_like(found)) + found
        self._count += 1

    def mean(self) -> dict[tuple[str, str], FloatArray]:
        """g(r) of every pair of elements (bins,); empty before the first structure."""
        return {pair: total / self._count for pair, total in self._sums.items()}
