"""Radial functions and harmonics of all neighbours of one atom.

Shells under the cosine cutoff are summed as they are; shells of a shorter reach are the channels
that multiply the spherical harmonics. The same functions in torch: `potentials.moment_tensors`.
"""

from typing import Any

from potentials.kernels.blocks import load_block, store_block, store_turned
from potentials.kernels.compiling import compiled, inlined
from potentials.kernels.elementary import cosine_cutoff
from potentials.kernels.harmonics import harmonics
from potentials.kernels.model import CHANNELS, DISTANCE, ENVELOPE, INVERSE, SLOPE, Recipe
from potentials.kernels.simd import (
    filled,
    lanes,
    load,
    positive_part,
    square_root,
    store,
    total,
    where_above,
)


@inlined
def shell(distance: Any, index: Any, gap: Any, overlap: Any) -> Any:
    """(1 - ((r - c)/w)^2)^3 where positive, and its derivative by r."""
    width = overlap * gap
    away = (distance - gap * (index + 1)) * (1.0 / width)
    inside = positive_part(1.0 - away * away)
    square = inside * inside
    return square * inside, square * away * (-6.0 / width)


@inlined
def envelope(distance: Any, cutoff: Any) -> Any:
    """The cosine cutoff, zero beyond, and its derivative by r."""
    value, slope = cosine_cutoff(distance * (1.0 / cutoff))
    slope = slope * (1.0 / cutoff)
    return where_above(distance, cutoff, 0.0, value), where_above(distance, cutoff, 0.0, slope)


@compiled
def measure(recipe: Any, found: Any, start: Any, span: Any, values: Any, base: Any) -> None:
    """Distances and envelopes of all neighbours of an atom; vectors become unit vectors.

    Args:
        recipe: parameters of any descriptor.
        found: neighbours; those of this atom begin at ``start``.
        start: first of them.
        span: their number with what fills groups up.
        values: rows of ``span`` numbers each, from ``base`` on.
        base: where this atom's rows begin.
    """
    for place in range(0, span, lanes(values)):
        at, here = start + place, base + place
        x, y, z = load(found.x, at), load(found.y, at), load(found.z, at)
        distance = square_root(x * x + y * y + z * z)
        inverse = 1.0 / distance
        store(found.x, at, x * inverse)
        store(found.y, at, y * inverse)
        store(found.z, at, z * inverse)
        store(values, here + DISTANCE * span, distance)
        store(values, here + INVERSE * span, inverse)
        value, slope = envelope(distance, recipe.cutoff)
        store(values, here + ENVELOPE * span, value)
        store(values, here + SLOPE * span, slope)


@compiled
def measure_near(recipe: Recipe, found: Any, at: Any, span: Any, values: Any, here: Any) -> None:
    """Harmonics and channels of one vector of neighbours.

    Args:
        recipe: parameters.
        found: unit vectors; those at hand stand at ``at``.
        at: likewise.
        span: length of the rows.
        values: rows of what depends on one neighbour.
        here: where the neighbours at hand stand in the first row.
    """
    width = len(recipe.channels)
    row = here + (CHANNELS + 2 * width) * span
    store_block(
        values, row, span, harmonics(load(found.x, at), load(found.y, at), load(found.z, at))
    )
    distance = load(values, here + DISTANCE * span)
    height, slope = envelope(distance, recipe.reach)
    row = here + CHANNELS * span
    for a in range(recipe.angular):
        value, derivative = shell(distance, a, recipe.angular_gap, recipe.overlap)
        store(values, row + a * span, value * height)
        store(values, row + (a + width) * span, derivative * height + value * slope)
    for a in range(recipe.angular, width):
        store(values, row + a * span, filled(values, 0.0))
        store(values, row + (a + width) * span, filled(values, 0.0))


@inlined
def turn_channels(recipe: Recipe, span: Any, values: Any, here: Any, turned: Any) -> None:
    """Channels of one vector of neighbours once more, neighbour by neighbour."""
    block = load_block(values, here + CHANNELS * span, span, recipe.channels)
    store_turned(values, turned, block)


@compiled
def sum_shells(
    recipe: Recipe, values: Any, base: Any, span: Any, group: Any, made: Any, place: Any
) -> None:
    """Sums over a group of neighbours, from its first to its end, of all shells."""
    for index in range(recipe.shells):
        summed = filled(values, 0.0)
        for at in range(base + group[0], base + group[1], lanes(values)):
            value, _ = shell(load(values, at + DISTANCE * span), index, recipe.gap, recipe.overlap)
            summed = summed + value * load(values, at + ENVELOPE * span)
        made[place + index] = total(summed)


@inlined
def shell_slopes(recipe: Recipe, values: Any, at: Any, span: Any, pull: Any, place: Any) -> Any:
    """Derivative by the distance of the sum of pull[i] x shell_i x envelope, for one vector."""
    distance = load(values, at + DISTANCE * span)
    height, rise = filled(values, 0.0), filled(values, 0.0)
    for index in range(recipe.shells):
        value, derivative = shell(distance, index, recipe.gap, recipe.overlap)
        height = height + value * pull[place + index]
        rise = rise + derivative * pull[place + index]
    return height * load(values, at + SLOPE * span) + rise * load(values, at + ENVELOPE * span)
