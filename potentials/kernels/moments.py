"""Moments of an atom's neighbours, their invariants, and the way back to forces.

A moment is the sum over the neighbours of one element of channel x harmonic; it is stored with its
channels side by side, so that every invariant is computed for all channels at once.
"""

from typing import Any

from potentials.kernels.blocks import (
    add_outer,
    contract,
    dot,
    load_block,
    store_block,
    zeros,
    zeros_of_channels,
)
from potentials.kernels.compiling import compiled, inlined
from potentials.kernels.grids import fill
from potentials.kernels.harmonics import COUNT, ROWS, gradient
from potentials.kernels.model import CHANNELS, INVERSE, Recipe
from potentials.kernels.simd import filled_channels, load, load_channels, store


@compiled
def sum_moments(
    recipe: Recipe, values: Any, base: Any, span: Any, group: Any, made: Any, place: Any
) -> None:
    """Moments of a group of neighbours, from its first on and so many: one row a harmonic."""
    width = len(recipe.channels)
    harmonic = base + (CHANNELS + 2 * width) * span
    turned = harmonic + COUNT * span
    summed = zeros_of_channels(values, recipe.channels, ROWS)
    for at in range(group[0], group[0] + group[1]):
        channel = load_channels(values, turned + at * width, recipe.channels)
        summed = add_outer(summed, values, harmonic + at, span, channel)
    store_block(made, place, width, summed)


@compiled
def sum_elements(recipe: Recipe, moments: Any, base: Any, n_elements: Any) -> None:
    """Moments of all elements together, after those of the elements."""
    width = len(recipe.channels)
    block = COUNT * width
    for at in range(base, base + block, width):
        summed = load_channels(moments, at, recipe.channels)
        for e in range(1, n_elements):
            summed = summed + load_channels(moments, at + e * block, recipe.channels)
        store(moments, at + n_elements * block, summed)


@compiled
def form_invariants(recipe: Recipe, moments: Any, base: Any, made: Any, place: Any) -> None:
    """Sums of products of two and of three moments, all channels at once."""
    width = len(recipe.channels)
    for block in range(len(recipe.two_start) - 1):
        summed = filled_channels(made, 0.0, recipe.channels)
        for term in range(recipe.two_start[block], recipe.two_start[block + 1]):
            one = load_channels(moments, base + recipe.two[term, 0], recipe.channels)
            other = load_channels(moments, base + recipe.two[term, 1], recipe.channels)
            summed = summed + one * other
        store(made, place, summed)
        place += width
    for block in range(len(recipe.three_start) - 1):
        summed = filled_channels(made, 0.0, recipe.channels)
        for term in range(recipe.three_start[block], recipe.three_start[block + 1]):
            one = load_channels(moments, base + recipe.three[term, 0], recipe.channels)
            two = load_channels(moments, base + recipe.three[term, 1], recipe.channels)
            three = load_channels(moments, base + recipe.three[term, 2], recipe.channels)
            summed = summed + one * two * (three * recipe.three_factor[term])
        store(made, place, summed)
        place += width


@compiled
def pull_moments(recipe: Recipe, moments: Any, base: Any, pull: Any, place: Any, made: Any) -> None:
    """Derivatives by the moments of the sum of pull x invariant."""
    width = len(recipe.channels)
    fill(made, 0.0)
    for block in range(len(recipe.two_start) - 1):
        weight = load_channels(pull, place, recipe.channels)
        place += width
        for term in range(recipe.two_start[block], recipe.two_start[block + 1]):
            i, j = recipe.two[term, 0], recipe.two[term, 1]
            one = weight * load_channels(moments, base + i, recipe.channels)
            other = weight * load_channels(moments, base + j, recipe.channels)
            store(made, i, load_channels(made, i, recipe.channels) + other)
            store(made, j, load_channels(made, j, recipe.channels) + one)
    for block in range(len(recipe.three_start) - 1):
        weight = load_channels(pull, place, recipe.channels)
        place += width
        for term in range(recipe.three_start[block], recipe.three_start[block + 1]):
            i, j, k = recipe.three[term, 0], recipe.three[term, 1], recipe.three[term, 2]
            one = load_channels(moments, base + i, recipe.channels)
            two = load_channels(moments, base + j, recipe.channels)
            three = load_channels(moments, base + k, recipe.channels)
            factor = weight * recipe.three_factor[term]
            store(made, i, load_channels(made, i, recipe.channels) + factor * two * three)
            store(made, j, load_channels(made, j, recipe.channels) + factor * one * three)
            store(made, k, load_channels(made, k, recipe.channels) + factor * one * two)


@compiled
def pull_elements(recipe: Recipe, made: Any, n_elements: Any) -> None:
    """Hand the derivatives by the moments of all elements together to those of each."""
    width = len(recipe.channels)
    block = COUNT * width
    for at in range(0, block, width):
        common = load_channels(made, at + n_elements * block, recipe.channels)
        for e in range(n_elements):
            place = at + e * block
            store(made, place, load_channels(made, place, recipe.channels) + common)


@inlined
def pull_vector(
    recipe: Recipe, values: Any, at: Any, span: Any, unit: Any, pull: Any, place: Any
) -> Any:
    """Derivative by the vectors to neighbours of the sum of pull x moment.

    Args:
        recipe: parameters.
        values: rows of what depends on one neighbour.
        at: where a vector of neighbours stands in the first row.
        span: length of the rows.
        unit: components of their unit vectors.
        pull: derivatives by the moments.
        place: where those of the neighbours' element begin.
    """
    width = len(recipe.channels)
    harmonic = at + (CHANNELS + 2 * width) * span
    channel = load_block(values, at + CHANNELS * span, span, recipe.channels)
    by_channel = zeros(values, recipe.channels)
    for lm in range(COUNT):
        value = load(values, harmonic + lm * span)
        by_channel = add_outer(by_channel, pull, place + lm * width, 1, value)
    x, y, z = unit
    gx, gy, gz = gradient(x, y, z, contract(channel, pull, place, ROWS))
    slopes = load_block(values, at + (CHANNELS + width) * span, span, recipe.channels)
    inverse = load(values, at + INVERSE * span)
    along = dot(slopes, by_channel) - inverse * (gx * x + gy * y + gz * z)
    return inverse * gx + along * x, inverse * gy + along * y, inverse * gz + along * z
