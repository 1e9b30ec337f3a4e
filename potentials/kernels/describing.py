"""Descriptors of one atom from its neighbours, in the order of the compiled code."""

from typing import Any

from potentials.kernels.compiling import compiled
from potentials.kernels.harmonics import COUNT
from potentials.kernels.model import CHANNELS, Recipe
from potentials.kernels.moments import form_invariants, sum_elements, sum_moments
from potentials.kernels.radial import measure, measure_near, sum_shells, turn_channels
from potentials.kernels.simd import lanes


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
