"""Parameters of symmetry functions: single functions, published sets, and a choice from data.

Free of torch, so that settings load fast.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from ase import Atoms

#: length of one bohr [Å], CODATA 2014 as in ASE
BOHR = 0.5291772105638411
#: shortest distance taken where no data are at hand, as a share of the cutoff
SHORTEST = 0.25


class Function(BaseModel):
    """What all symmetry functions have; an element left open means every element."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    eta: float = Field(ge=0, description="Width of the Gaussian [1/Å^2].")
    shift: float = Field(0.0, description="Centre of the Gaussian r_s [Å].")
    cutoff: float | None = Field(
        None, gt=0, description="Radius [Å]; left out: that of the descriptor."
    )
    centre: str | None = Field(None, description="Element of the atom; left out: every element.")


class Radial(Function):
    """G2: a sum over the neighbours of one element."""

    kind: Literal["radial"] = "radial"
    neighbour: str | None = Field(
        None, description="Element of the neighbour; left out: one component for each."
    )


class Angular(Function):
    """G4 (narrow, three distances) or G5 (wide, two): a sum over pairs of neighbours."""

    kind: Literal["narrow", "wide"]
    zeta: float = Field(ge=1, description="Power of the angular factor.")
    lam: float = Field(description="lambda, +1 or -1: straight or small angles count most.")
    neighbours: tuple[str, str] | None = Field(
        None, description="Elements of both neighbours; left out: one component for each pair."
    )


AnyFunction = Annotated[Radial | Angular, Field(discriminator="kind")]


def _grid(
    radial: Sequence[float], etas: Sequence[float], zetas: Sequence[float], scale: float = 1.0
) -> tuple[Radial | Angular, ...]:
    """G2 of all widths, then G4 of all widths x lambda x zeta, for all elements."""
    return (
        *(Radial(eta=eta * scale) for eta in radial),
        *(
            Angular(kind="narrow", eta=eta * scale, zeta=zeta, lam=lam)
            for eta in etas
            for lam in (-1.0, 1.0)
            for zeta in zetas
        ),
    )


#: aenet's set for TiO2 (Artrith and Urban, Comput. Mater. Sci. 114, 135 (2016),
#: doi:10.1016/j.commatsci.2015.11.047), cutoff 6.5 Å: 70 functions per element with two elements
TIO2 = _grid(
    (0.003214, 0.035711, 0.071421, 0.124987, 0.214264, 0.357106, 0.714213, 1.428426),
    (0.000357, 0.028569, 0.089277),
    (1.0, 2.0, 4.0),
)
TIO2_CUTOFF = 6.5
#: a set for Cu-Au-O-H given in 1/bohr^2, without a cutoff: 148 per element with four elements
CU_AU_O_H = _grid(
    (0.0009, 0.01, 0.02, 0.035, 0.06, 0.1, 0.2), (0.0001, 0.003, 0.008), (1.0, 4.0), BOHR**-2
)


def choose(
    shortest: float, cutoff: float, radial: int = 8, zetas: Sequence[float] = (1.0, 2.0, 4.0)
) -> tuple[Radial | Angular, ...]:
    """Functions for any elements from two lengths.

    Radial: one wide Gaussian at the atom, and ``radial`` on centres that grow geometrically from
    the shortest distance to the cutoff, each as narrow as its distance to the next: the shifted
    grid of Imbalzano et al., J. Chem. Phys. 148, 241730 (2018), doi:10.1063/1.5024611, started
    where neighbours can be. Angular: narrow, flat and with widths of the cutoff and of the
    geometric mean of both lengths.

    Args:
        shortest: shortest distance to be described [Å].
        cutoff: radius of the environment [Å].
        radial: number of shifted Gaussians.
        zetas: powers of the angular factor.

    Raises:
        ValueError: not 0 < shortest < cutoff, or no shifted Gaussian.
    """
    if not 0.0 < shortest < cutoff:
        raise ValueError(
            f"shortest distance {shortest} Å: expected a length between 0 and the cutoff "
            f"{cutoff} Å; give a larger cutoff, or the shortest distance of the data"
        )
    if radial < 1:
        raise ValueError(f"{radial} radial functions: expected at least one")
    ratio = (cutoff / shortest) ** (1.0 / radial)
    centres = [shortest * ratio**index for index in range(radial)]
    return (
        Radial(eta=cutoff**-2),
        *(Radial(eta=(c * (ratio - 1.0)) ** -2, shift=c) for c in centres),
        *_grid((), (0.0, cutoff**-2, 1.0 / (cutoff * shortest)), zetas),
    )


def shortest_distance(structures: Sequence["Atoms"], cutoff: float) -> float:
    """Shortest distance between atoms or images in all structures [Å], at most ``cutoff``."""
    import numpy as np

    from potentials.batch import neighbours

    shortest = cutoff
    for atoms in structures:
        cell = atoms.cell.array
        one, other, shifts = neighbours(atoms.positions, cell, [*map(bool, atoms.pbc)], cutoff)
        vectors = atoms.positions[other] - atoms.positions[one] + shifts @ cell
        shortest = min(shortest, float(np.linalg.norm(vectors, axis=1).min(initial=cutoff)))
    return shortest
