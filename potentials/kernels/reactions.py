"""Action and reaction: from derivatives by vectors to neighbours to forces and virial."""

from typing import Any

from potentials.kernels.compiling import inlined
from potentials.kernels.simd import lanes, store, total


@inlined
def add_virial(unit: Any, pulled: Any, distance: Any, virial: Any) -> None:
    """The part of one vector of neighbours."""
    x, y, z = unit[0] * distance, unit[1] * distance, unit[2] * distance
    virial[0] += total(x * pulled[0])
    virial[1] += total(y * pulled[1])
    virial[2] += total(z * pulled[2])
    virial[3] += total(y * pulled[2])
    virial[4] += total(x * pulled[2])
    virial[5] += total(x * pulled[1])


@inlined
def add_forces(i: Any, pulled: Any, atom: Any, at: Any, count: Any, pull: Any, forces: Any) -> None:
    """Action on an atom and reaction on one vector of neighbours."""
    step = lanes(pull)
    store(pull, 0, pulled[0])
    store(pull, step, pulled[1])
    store(pull, 2 * step, pulled[2])
    forces[i, 0] += total(pulled[0])
    forces[i, 1] += total(pulled[1])
    forces[i, 2] += total(pulled[2])
    for lane in range(count):
        for axis in range(3):
            forces[atom[at + lane], axis] -= pull[axis * step + lane]
