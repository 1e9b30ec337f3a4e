"""`moments` of one atom, in the order of the compiled code, and the way back to forces."""

from typing import Any

from potentials.kernels.compiling import compiled
from potentials.kernels.harmonics import COUNT
from potentials.kernels.model import CHANNELS, DISTANCE, Recipe
from potentials.kernels.moments import (
    form_invariants,
    pull_elements,
    pull_moments,
    pull_vector,
    sum_elements,
    sum_moments,
)
from potentials.kernels.radial import (
    measure,
    measure_near,
    shell_slopes,
    sum_shells,
    turn_channels,
)
from potentials.kernels.reactions import add_forces, add_virial
from potentials.kernels.simd import lanes, load


@compiled
def describe(
    recipe: Recipe, found: Any, slot: Any, values: Any, base: Any, moments: Any, made: Any
) -> None:
    """Descriptors of one atom.

    Args:
        recipe: parameters.
        found: neighbours; their vectors become unit vectors.
        slot: the atom's place in the tile.
        values: rows of what depends on one neighbour only.
        base: where this atom's rows begin.
        moments: of this atom, all elements one after the other.
        made: descriptors of this atom.
    """
    width = len(recipe.channels)
    start = found.start[slot, 0]
    span = found.start[slot, recipe.elements] - start
    measure(recipe, found, start, span, values, base)
    for other in range(recipe.elements):
        own, near = found.start[slot, other] - start, found.near[slot, other]
        stop = found.start[slot, other + 1] - start
        sum_shells(recipe, values, base, span, (own, stop), made, other * recipe.shells)
        turned = base + (CHANNELS + 2 * width + COUNT) * span
        for at in range(own, own + near, lanes(values)):
            measure_near(recipe, found, start + at, span, values, base + at)
            turn_channels(recipe, span, values, base + at, turned + at * width)
        sum_moments(recipe, values, base, span, (own, near), moments, other * COUNT * width)
    if recipe.elements > 1:
        sum_elements(recipe, moments, 0, recipe.elements)
    form_invariants(recipe, moments, 0, made, recipe.elements * recipe.shells)


@compiled
def pull_back(recipe: Recipe, i: Any, places: Any, room: Any, forces: Any, virial: Any) -> None:
    """From derivatives by the descriptors of one atom to forces [eV/Å] and virial [eV].

    Args:
        recipe: parameters.
        i: the atom.
        places: its slot in the tile, and where its rows, moments and descriptors begin.
        room: working memory.
        forces: to add to.
        virial: to add to.
    """
    slot, base, moments, place = places
    n_elements, width = recipe.elements, len(recipe.channels)
    found, values, pull = room.found, room.values, room.signals.pull
    start = found.start[slot, 0]
    span = found.start[slot, n_elements] - start
    angular = place + n_elements * recipe.shells
    pull_moments(recipe, room.moments, moments, pull, angular, room.pulled)
    if n_elements > 1:
        pull_elements(recipe, room.pulled, n_elements)
    for other in range(n_elements):
        own, radial = other * COUNT * width, place + other * recipe.shells
        begin, stop = found.start[slot, other], found.start[slot, other + 1]
        real = begin + found.count[slot, other]
        for at in range(begin, stop, lanes(values)):
            unit = load(found.x, at), load(found.y, at), load(found.z, at)
            here = base + at - start
            along = shell_slopes(recipe, values, here, span, pull, radial)
            pulled = unit[0] * along, unit[1] * along, unit[2] * along
            if at < begin + found.near[slot, other]:
                more = pull_vector(recipe, values, here, span, unit, room.pulled, own)
                pulled = pulled[0] + more[0], pulled[1] + more[1], pulled[2] + more[2]
            distance = load(values, here + DISTANCE * span)
            add_virial(unit, pulled, distance, virial)
            add_forces(i, pulled, found.atom, at, min(real - at, lanes(values)), room.pull, forces)
