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
from potentials.kernels.model import CHANNELS, INVERSE, Model
from potentials.kernels.simd import filled_channels, load, load_channels, store


@compiled
def sum_moments(
    model: Model, values: Any, base: Any, span: Any, group: Any, made: Any, place: Any
) -> None:
    """Moments of a group of neighbours, from its first on and so many: one row a harmonic."""
    width = len(model.channels)
    harmonic = base + (CHANNELS + 2 * width) * span
    turned = harmonic + COUNT * span
    summed = zeros_of_channels(values, model.channels, ROWS)
    for at in range(group[0], group[0] + group[1]):
        channel = load_channels(values, turned + at * width, model.channels)
        summed = add_outer(summed, values, harmonic + at, span, channel)
    store_block(made, place, width, summed)


@compiled
def sum_elements(model: Model, moments: Any, base: Any, n_elements: Any) -> None:
    """Moments of all elements together, after those of the elements."""
    width = len(model.channels)
    block = COUNT * width
    for at in range(base, base + block, width):
        summed = load_channels(moments, at, model.channels)
        for e in range(1, n_elements):
            summed = summed + load_channels(moments, at + e * block, model.channels)
        store(moments, at + n_elements * block, summed)


@compiled
def form_invariants(model: Model, moments: Any, base: Any, made: Any, place: Any) -> None:
    """Sums of products of two and of three moments, all channels at once."""
    width = len(model.channels)
    for block in range(len(model.two_start) - 1):
        summed = filled_channels(made, 0.0, model.channels)
        for term in range(model.two_start[block], model.two_start[block + 1]):
            one = load_channels(moments, base + model.two[term, 0], model.channels)
            other = load_channels(moments, base + model.two[term, 1], model.channels)
            summed = summed + one * other
        store(made, place, summed)
        place += width
    for block in range(len(model.three_start) - 1):
        summed = filled_channels(made, 0.0, model.channels)
        for term in range(model.three_start[block], model.three_start[block + 1]):
            one = load_channels(moments, base + model.three[term, 0], model.channels)
            two = load_channels(moments, base + model.three[term, 1], model.channels)
            three = load_channels(moments, base + model.three[term, 2], model.channels)
            summed = summed + one * two * (three * model.three_factor[term])
        store(made, place, summed)
        place += width


@compiled
def pull_moments(model: Model, moments: Any, base: Any, pull: Any, place: Any, made: Any) -> None:
    """Derivatives by the moments of the sum of pull x invariant."""
    width = len(model.channels)
    fill(made, 0.0)
    for block in range(len(model.two_start) - 1):
        weight = load_channels(pull, place, model.channels)
        place += width
        for term in range(model.two_start[block], model.two_start[block + 1]):
            i, j = model.two[term, 0], model.two[term, 1]
            one = weight * load_channels(moments, base + i, model.channels)
            other = weight * load_channels(moments, base + j, model.channels)
            store(made, i, load_channels(made, i, model.channels) + other)
            store(made, j, load_channels(made, j, model.channels) + one)
    for block in range(len(model.three_start) - 1):
        weight = load_channels(pull, place, model.channels)
        place += width
        for term in range(model.three_start[block], model.three_start[block + 1]):
            i, j, k = model.three[term, 0], model.three[term, 1], model.three[term, 2]
            one = load_channels(moments, base + i, model.channels)
            two = load_channels(moments, base + j, model.channels)
            three = load_channels(moments, base + k, model.channels)
            factor = weight * model.three_factor[term]
            store(made, i, load_channels(made, i, model.channels) + factor * two * three)
            store(made, j, load_channels(made, j, model.channels) + factor * one * three)
            store(made, k, load_channels(made, k, model.channels) + factor * one * two)


@compiled
def pull_elements(model: Model, made: Any, n_elements: Any) -> None:
    """Hand the derivatives by the moments of all elements together to those of each."""
    width = len(model.channels)
    block = COUNT * width
    for at in range(0, block, width):
        common = load_channels(made, at + n_elements * block, model.channels)
        for e in range(n_elements):
            place = at + e * block
            store(made, place, load_channels(made, place, model.channels) + common)


@inlined
def pull_vector(
    model: Model, values: Any, at: Any, span: Any, unit: Any, pull: Any, place: Any
) -> Any:
    """Derivative by the vectors to neighbours of the sum of pull x moment.

    Args:
        model: parameters.
        values: rows of what depends on one neighbour.
        at: where a vector of neighbours stands in the first row.
        span: length of the rows.
        unit: components of their unit vectors.
        pull: derivatives by the moments.
        place: where those of the neighbours' element begin.
    """
    width = len(model.channels)
    harmonic = at + (CHANNELS + 2 * width) * span
    channel = load_block(values, at + CHANNELS * span, span, model.channels)
    by_channel = zeros(values, model.channels)
    for lm in range(COUNT):
        value = load(values, harmonic + lm * span)
        by_channel = add_outer(by_channel, pull, place + lm * width, 1, value)
    x, y, z = unit
    gx, gy, gz = gradient(x, y, z, contract(channel, pull, place, ROWS))
    slopes = load_block(values, at + (CHANNELS + width) * span, span, model.channels)
    inverse = load(values, at + INVERSE * span)
    along = dot(slopes, by_channel) - inverse * (gx * x + gy * y + gz * z)
    return inverse * gx + along * x, inverse * gy + along * y, inverse * gz + along * z
