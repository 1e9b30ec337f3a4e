"""`acsf` of one atom, and the way back to forces: sums over neighbours and over triplets."""

from typing import Any

from potentials.kernels.compiling import compiled, inlined
from potentials.kernels.elementary import decay
from potentials.kernels.grids import fill, part_of
from potentials.kernels.model import DISTANCE, ENVELOPE, INVERSE, SLOPE
from potentials.kernels.radial import measure
from potentials.kernels.reactions import add_forces, add_virial
from potentials.kernels.simd import filled, lanes, load, store, total
from potentials.kernels.symmetry import EDGE_SUMS, WEIGHTS, SymmetryRecipe
from potentials.kernels.triplets import pull_triplets, sum_triplets

#: keeps zero over zero at the cutoff from being no number; far below any cutoff function
_FAINT = 1e-30


@compiled
def describe_symmetry(
    recipe: SymmetryRecipe,
    atom: Any,
    found: Any,
    values: Any,
    base: Any,
    moments: Any,
    made: Any,
) -> None:
    """Descriptors of one atom, given by element and slot; the rest as for `describing.describe`."""
    e, slot = atom
    start = found.start[slot, 0]
    span = found.start[slot, recipe.elements] - start
    measure(recipe, found, start, span, values, base)
    _weigh(recipe, values, base, span)
    for other in range(recipe.elements):
        group = found.start[slot, other] - start, found.start[slot, other + 1] - start
        _sum_gaussians(recipe, values, base, span, group, moments, other * len(recipe.radial))
    rows, place = (values, base, start, span), recipe.elements * len(recipe.radial)
    scratch = len(moments) - len(recipe.sums) * lanes(values)
    for one in range(recipe.elements):
        for other in range(one, recipe.elements):
            groups = groups_of(found, slot, one, other)
            sum_triplets(recipe, found, rows, groups, moments, place, scratch)
            place += len(recipe.sums)
    for d in range(recipe.first.shape[1]):
        made[d] = 0.0
        for term in range(recipe.terms[e, d]):
            made[d] += recipe.factors[e, d, term] * moments[recipe.first[e, d] + term]


@compiled
def _sum_gaussians(
    recipe: SymmetryRecipe, values: Any, base: Any, span: Any, group: Any, made: Any, place: Any
) -> None:
    """Sums over a group of neighbours, from its first to its end, of all Gaussians of G2."""
    for index in range(len(recipe.radial)):
        summed = filled(values, 0.0)
        for at in range(base + group[0], base + group[1], lanes(values)):
            height = load(values, at + ENVELOPE * span)
            summed = summed + _gaussian(recipe, index, load(values, at + DISTANCE * span)) * height
        made[place + index] = total(summed)


@compiled
def groups_of(found: Any, slot: Any, one: Any, other: Any) -> Any:
    """Neighbours of two elements: first and end of each, and whether they are the same."""
    start = found.start[slot, 0]
    begin = found.start[slot, one] - start
    return (
        (begin, begin + found.count[slot, one]),
        (found.start[slot, other] - start, found.start[slot, other + 1] - start),
        one == other,
    )


@inlined
def _gaussian(recipe: SymmetryRecipe, index: Any, distance: Any) -> Any:
    away = distance - recipe.radial[index, 1]
    return decay(away * away * recipe.radial[index, 0])


@compiled
def _weigh(recipe: SymmetryRecipe, values: Any, base: Any, span: Any) -> None:
    """w(r) of all widths for all neighbours."""
    for at in range(base, base + span, lanes(values)):
        distance = load(values, at + DISTANCE * span)
        height = load(values, at + ENVELOPE * span)
        for n in range(len(recipe.widths)):
            weight = decay(distance * distance * recipe.narrow[n]) * height
            store(values, at + (WEIGHTS + n) * span, weight)


@compiled
def clear_edges(recipe: SymmetryRecipe, values: Any, base: Any, span: Any) -> None:
    """Zeros where `pull_triplets` adds."""
    begin = base + (WEIGHTS + len(recipe.widths)) * span
    fill(part_of(values, begin, 2 * EDGE_SUMS * span), 0.0)


@inlined
def along_edge(recipe: SymmetryRecipe, values: Any, at: Any, span: Any, unit: Any) -> Any:
    """Derivative by one vector of neighbours of what `pull_triplets` has summed.

    The sums along the vector belong to the cosine, to the squares of the lengths of the triangle,
    and to the cutoff function.
    """
    row = at + (WEIGHTS + len(recipe.widths)) * span
    other = row + EDGE_SUMS * span
    turn = load(values, row + 3 * span) + load(values, other + 3 * span)
    fall = load(values, row + 4 * span) + load(values, other + 4 * span)
    level = load(values, row + 5 * span) + load(values, other + 5 * span)
    steep = load(values, at + SLOPE * span) / (load(values, at + ENVELOPE * span) + _FAINT)
    along = level * steep - turn * load(values, at + INVERSE * span)
    along = along + fall * load(values, at + DISTANCE * span) * 2.0
    return (
        load(values, row) + load(values, other) + along * unit[0],
        load(values, row + span) + load(values, other + span) + along * unit[1],
        load(values, row + 2 * span) + load(values, other + 2 * span) + along * unit[2],
    )


@inlined
def gaussian_slope(recipe: SymmetryRecipe, index: Any, values: Any, at: Any, span: Any) -> Any:
    """Derivative by the distance of one Gaussian with its cutoff function."""
    distance = load(values, at + DISTANCE * span)
    away = (distance - recipe.radial[index, 1]) * (2.0 * recipe.radial[index, 0])
    slope = away * load(values, at + ENVELOPE * span) + load(values, at + SLOPE * span)
    return slope * _gaussian(recipe, index, distance)


@compiled
def pull_symmetry(
    recipe: SymmetryRecipe, e: Any, i: Any, places: Any, room: Any, forces: Any, virial: Any
) -> None:
    """From derivatives by the descriptors of one atom of element ``e`` to forces and virial.

    The rest as for `describing.pull_back`.
    """
    slot, base, _, place = places
    found, values, pulled = room.found, room.values, room.pulled
    _pull_sums(recipe, e, room.signals.pull, place, pulled)
    start = found.start[slot, 0]
    span = found.start[slot, recipe.elements] - start
    clear_edges(recipe, values, base, span)
    rows, sums = (values, base, start, span), recipe.elements * len(recipe.radial)
    for one in range(recipe.elements):
        for other in range(one, recipe.elements):
            groups = groups_of(found, slot, one, other)
            pull_triplets(recipe, found, rows, groups, (recipe.widths, 0), (pulled, sums))
            sums += len(recipe.sums)
    for other in range(recipe.elements):
        begin, radial = found.start[slot, other], other * len(recipe.radial)
        real = begin + found.count[slot, other]
        for at in range(begin, real, lanes(values)):
            unit = load(found.x, at), load(found.y, at), load(found.z, at)
            here = base + at - start
            edge = along_edge(recipe, values, here, span, unit)
            made = _with_gaussians(recipe, values, here, span, unit, edge, (pulled, radial))
            add_virial(unit, made, load(values, here + DISTANCE * span), virial)
            add_forces(i, made, found.atom, at, min(real - at, lanes(values)), room.pull, forces)


@inlined
def _with_gaussians(
    recipe: SymmetryRecipe, values: Any, at: Any, span: Any, unit: Any, edge: Any, pull: Any
) -> Any:
    """Add the derivative of all Gaussians of G2 by one vector of neighbours."""
    pulled, place = pull
    along = filled(values, 0.0)
    for index in range(len(recipe.radial)):
        slope = gaussian_slope(recipe, index, values, at, span)
        along = along + slope * pulled[place + index]
    return edge[0] + along * unit[0], edge[1] + along * unit[1], edge[2] + along * unit[2]


@compiled
def _pull_sums(recipe: SymmetryRecipe, e: Any, pull: Any, place: Any, made: Any) -> None:
    """Derivatives by the sums of an atom of the sum of pull x component."""
    fill(made, 0.0)
    for d in range(recipe.first.shape[1]):
        for term in range(recipe.terms[e, d]):
            made[recipe.first[e, d] + term] += pull[place + d] * recipe.factors[e, d, term]
