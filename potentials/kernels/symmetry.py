"""What the compiled code knows of the `acsf` descriptor.

Distinct Gaussians are summed once for all functions: the radial ones by element of the neighbour,
then by pair of elements, width and power of the cosine. A component is a polynomial: a few of these
sums in a row, times its coefficients.
"""

from math import comb
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from potentials.kernels.arrays import aligned, up
from potentials.kernels.simd import WIDTH

if TYPE_CHECKING:
    from potentials.acsf_parameters import Angular
    from potentials.descriptors.acsf import Acsf

#: rows of numbers kept for every neighbour: distance, its inverse, envelope and slope as for
#: `moments`, then w(r) of every width, then sums on the way back as one and as other neighbour
WEIGHTS = 4
#: sums on the way back: x, y, z, and three that lie along the vector
EDGE_SUMS = 6


class SymmetryRecipe(NamedTuple):
    """Parameters of the descriptor for E elements, D components.

    Attributes:
        cutoff: radius of the environment [Å].
        reach: of the angular part, the same [Å].
        elements: number of elements.
        radial: -eta [1/Å^2] and centre [Å] of the distinct Gaussians of G2 (R, 2).
        narrow: -eta of the distinct Gaussians of G4 [1/Å^2] (W,).
        widths: a tuple with one entry for each of them.
        powers: a tuple with one entry for each power of the cosine, 0 and 1 at least.
        sums: a tuple with one entry for each width and power.
        first: first sum of every component (E, D).
        terms: number of its coefficients, 1 for G2, 0 for what stays empty (E, D).
        factors: its coefficients (E, D, powers).
        kin: elements of the neighbours, and the Gaussian, of every component (E, D, 3).
        mask: zeros, then as many ones.
    """

    cutoff: float
    reach: float
    elements: int
    radial: Any
    narrow: Any
    widths: Any
    powers: Any
    sums: Any
    first: Any
    terms: Any
    factors: Any
    kin: Any
    mask: Any


def rows_of(recipe: SymmetryRecipe) -> int:
    """Numbers kept for every neighbour of an atom."""
    return WEIGHTS + len(recipe.widths) + 2 * EDGE_SUMS


def sums_of(recipe: SymmetryRecipe) -> int:
    """Number of sums of an atom."""
    n = recipe.elements
    return n * len(recipe.radial) + n * (n + 1) // 2 * len(recipe.sums)


def room_of(recipe: SymmetryRecipe, dtype: Any) -> int:
    """The same with room for a vector for each of one pair of elements, to whole vectors."""
    lanes: int = WIDTH // np.dtype(dtype).itemsize
    return up(sums_of(recipe), lanes) + lanes * len(recipe.sums)


def symmetry_recipe(descriptor: "Acsf", n_elements: int, dtype: Any) -> SymmetryRecipe:
    """Parameters of a descriptor, in float32 or float64."""
    functions = descriptor.all_functions()
    radial = list(dict.fromkeys((f.eta, f.shift) for f in functions if f.kind == "radial"))
    narrow = list(dict.fromkeys(f.eta for f in functions if f.kind == "narrow"))
    powers = 1 + max(int(f.zeta) for f in functions if f.kind == "narrow")
    first, terms, factors, kin = _components(descriptor, n_elements, (radial, narrow, powers))
    lanes = WIDTH // np.dtype(dtype).itemsize
    mask = aligned(2 * lanes, dtype)
    mask[lanes:] = 1.0
    return SymmetryRecipe(
        cutoff=float(descriptor.cutoff),
        reach=float(descriptor.cutoff),
        elements=n_elements,
        radial=np.array([(-eta, shift) for eta, shift in radial], dtype=dtype).reshape(-1, 2),
        narrow=-np.array(narrow, dtype=dtype),
        widths=(0,) * len(narrow),
        powers=(0,) * powers,
        sums=(0,) * (len(narrow) * powers),
        first=first,
        terms=terms,
        factors=factors.astype(dtype),
        kin=kin,
        mask=mask,
    )


def _components(
    descriptor: "Acsf",
    n_elements: int,
    sums: tuple[list[tuple[float, float]], list[float], int],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """`SymmetryRecipe.first`, ``terms``, ``factors`` and ``kin``, from Gaussians and powers."""
    radial, narrow, powers = sums
    shape = n_elements, descriptor.size(n_elements)
    first, terms = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    kin, factors = np.zeros((*shape, 3), dtype=np.int64), np.zeros((*shape, powers))
    couples = [(a, b) for a in range(n_elements) for b in range(a, n_elements)]
    double = 2.0 if descriptor.summation == "ordered" else 1.0
    for e, own in enumerate(descriptor.components(n_elements)):
        for d, (function, partners) in enumerate(own):
            if function.kind == "radial":
                row = radial.index((function.eta, function.shift))
                first[e, d], terms[e, d] = partners[0] * len(radial) + row, 1
                factors[e, d, 0] = 1.0
            else:
                row = narrow.index(function.eta)
                couple = couples.index((partners[0], partners[1]))
                first[e, d] = n_elements * len(radial) + (couple * len(narrow) + row) * powers
                terms[e, d] = powers
                factors[e, d] = double * _polynomial(function, powers)
            kin[e, d] = partners[0], partners[-1], row
    return first, terms, factors, kin


def _polynomial(function: "Angular", powers: int) -> NDArray[Any]:
    """Coefficients of 2^(1 - zeta) (1 + lambda c)^zeta, constant term first."""
    zeta = int(function.zeta)
    binomials = [comb(zeta, power) * function.lam**power for power in range(powers)]
    return 2.0 ** (1 - zeta) * np.array(binomials)
