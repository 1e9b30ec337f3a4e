"""Energies of one tile of atoms of one element for all members, and their derivatives.

Hidden units of all members stand side by side, so that one matrix product with the weights makes
all of them for the atoms of the tile; the leading components and the linear terms are further
columns of the same product.
"""

from typing import Any, NamedTuple

from potentials.kernels.blocks import add_outer, load_block, store_block, zeros
from potentials.kernels.compiling import compiled
from potentials.kernels.elementary import hyperbolic_tangent
from potentials.kernels.model import (
    BIASES,
    COLUMNS,
    PLACE,
    SHARE,
    SHARE_TURNED,
    SLOTS,
    STRIDE,
    TILE,
    TURNED,
    UNITS,
    WEIGHTS,
    Model,
)
from potentials.kernels.simd import filled, lanes, load, store, total


class Signals(NamedTuple):
    """Room for what passes through the networks, for one tile.

    Attributes:
        values: descriptors (tile x D,).
        scaled: scaled descriptors (tile x D,).
        pull: derivatives of the energy by the descriptors (tile x D,).
        forward: signals of all layers, layer by layer (tile x sum of strides,).
        backward: derivatives of the energy by them before activation, likewise.
        halves: quadratic forms times leading components (tile x K x P,).
        energy: by atom and member (tile x K,).
        means: sums over the atoms of each element, for `potentials.kernels.domain` (E x D,).
    """

    values: Any
    scaled: Any
    pull: Any
    forward: Any
    backward: Any
    halves: Any
    energy: Any
    means: Any


@compiled
def product(
    x: Any, x_at: Any, count: Any, weights: Any, w_at: Any, made: Any, made_at: Any
) -> None:
    """Matrix product for all atoms of a tile.

    Args:
        x: signals.
        x_at: place of the first signal, and distance from atom to atom.
        count: number of signals.
        weights: flat (signals, columns).
        w_at: where they begin, and the number of columns, a multiple of two vectors.
        made: results.
        made_at: place of the first, distance from atom to atom, and whether to add (0 or 1).
    """
    step, place, stride = lanes(weights), made_at[0], made_at[1]
    for column in range(0, w_at[1], 2 * step):
        one, two = zeros(weights, SLOTS), zeros(weights, SLOTS)
        if made_at[2]:
            one = load_block(made, place + column, stride, SLOTS)
            two = load_block(made, place + column + step, stride, SLOTS)
        for i in range(count):
            at = w_at[0] + i * w_at[1] + column
            one = add_outer(one, x, x_at[0] + i, x_at[1], load(weights, at))
            two = add_outer(two, x, x_at[0] + i, x_at[1], load(weights, at + step))
        store_block(made, place + column, stride, one)
        store_block(made, place + column + step, stride, two)


@compiled
def predict(model: Model, e: Any, room: Signals) -> None:
    """Energies of the tile's atoms, all of element ``e``, from their descriptors."""
    _scale(model, e, room)
    count, filled_up = model.descriptors, model.columns
    members, layers = model.constants.shape[0], model.layers
    width = layers[0, STRIDE]
    weights = layers[0, WEIGHTS] + e * layers[0, SHARE], width
    product(room.scaled, (0, filled_up), count, model.weights, weights, room.forward, (0, width, 0))
    for layer in range(model.hidden):
        if layer > 0:
            below, units = layers[layer - 1], layers[layer - 1, UNITS]
            for k in range(members):
                weights = (
                    layers[layer, WEIGHTS] + (e * members + k) * layers[layer, SHARE],
                    layers[layer, COLUMNS],
                )
                product(
                    room.forward,
                    (below[PLACE] + k * below[COLUMNS], below[STRIDE]),
                    units,
                    model.weights,
                    weights,
                    room.forward,
                    (layers[layer, PLACE] + k * weights[1], layers[layer, STRIDE], 0),
                )
        _activate(model, e, layer, room)
    _energies(model, e, room)


@compiled
def _scale(model: Model, e: Any, room: Signals) -> None:
    """Scaled descriptors of the tile."""
    columns = model.columns
    for t in range(TILE):
        for d in range(0, columns, lanes(room.values)):
            at, own = t * columns + d, e * columns + d
            away = load(room.values, at) - load(model.mean, own)
            store(room.scaled, at, away * load(model.inverse_spread, own))


@compiled
def _activate(model: Model, e: Any, layer: Any, room: Signals) -> None:
    """Add biases to the signals of a layer and take the hyperbolic tangent."""
    row = model.layers[layer]
    count = model.constants.shape[0] * row[COLUMNS]
    for t in range(TILE):
        for column in range(0, count, lanes(room.forward)):
            at = row[PLACE] + t * row[STRIDE] + column
            bias = load(model.weights, row[BIASES] + e * count + column)
            store(room.forward, at, hyperbolic_tangent(load(room.forward, at) + bias))


@compiled
def _energies(model: Model, e: Any, room: Signals) -> None:
    """Sum networks, linear terms and quadratic forms by atom and member."""
    members, columns = model.constants.shape[0], model.leading_columns
    row = model.layers[max(model.hidden - 1, 0)]
    stride = model.layers[0, STRIDE]
    hidden = members * model.layers[0, COLUMNS]
    product(
        room.forward,
        (hidden, stride),
        model.leading,
        model.forms,
        (e * model.leading * model.form_columns, model.form_columns),
        room.halves,
        (0, model.form_columns, 0),
    )
    for t in range(TILE):
        leading = t * stride + hidden
        for k in range(members):
            summed = filled(room.forward, 0.0)
            if model.hidden:
                for h in range(0, row[COLUMNS], lanes(room.forward)):
                    signal = load(room.forward, row[PLACE] + t * row[STRIDE] + k * row[COLUMNS] + h)
                    place = model.last + (e * members + k) * row[COLUMNS] + h
                    summed = summed + signal * load(model.weights, place)
            halves = t * model.form_columns + k * columns
            for p in range(0, columns, lanes(room.forward)):
                half = load(room.halves, halves + p)
                summed = summed + half * load(room.forward, leading + p)
            room.energy[t * members + k] = total(summed) + room.forward[leading + columns + k]


@compiled
def differentiate(model: Model, e: Any, member: Any, room: Signals) -> None:
    """Derivatives by the descriptors of one member's energy, or of the mean for -1."""
    members, layers, top = model.constants.shape[0], model.layers, model.hidden - 1
    first, count = (member, 1) if member >= 0 else (0, members)
    _pull_output(model, e, first, count, room)
    for layer in range(top, 0, -1):
        row, below = layers[layer], layers[layer - 1]
        for k in range(first, first + count):
            weights = row[TURNED] + (e * members + k) * row[SHARE_TURNED], below[COLUMNS]
            product(
                room.backward,
                (row[PLACE] + k * row[COLUMNS], row[STRIDE]),
                row[UNITS],
                model.weights,
                weights,
                room.backward,
                (below[PLACE] + k * below[COLUMNS], below[STRIDE], 0),
            )
        _through_activation(model, layer - 1, first, count, room)
    _pull_first(model, e, first, count, room)


@compiled
def _pull_output(model: Model, e: Any, first: Any, count: Any, room: Signals) -> None:
    """Derivatives by the signals of the last hidden layer and by the further columns."""
    members, base = model.constants.shape[0], model.layers[0]
    row = model.layers[max(model.hidden - 1, 0)]
    leading, columns = members * base[COLUMNS], model.leading_columns
    for t in range(TILE):
        for p in range(0, columns, lanes(room.backward)):
            summed = filled(room.backward, 0.0)
            for k in range(first, first + count):
                summed = summed + load(room.halves, t * model.form_columns + k * columns + p)
            store(room.backward, t * base[STRIDE] + leading + p, summed * (2.0 / count))
        for k in range(first, first + count):
            room.backward[t * base[STRIDE] + leading + columns + k] = 1.0 / count
            if not model.hidden:
                continue
            for h in range(0, row[COLUMNS], lanes(room.backward)):
                place = model.last + (e * members + k) * row[COLUMNS] + h
                at = row[PLACE] + t * row[STRIDE] + k * row[COLUMNS] + h
                store(room.backward, at, load(model.weights, place) * (1.0 / count))
    if model.hidden:
        _through_activation(model, model.hidden - 1, first, count, room)


@compiled
def _through_activation(model: Model, layer: Any, first: Any, count: Any, room: Signals) -> None:
    """Multiply by the slope of the activation, 1 - tanh^2."""
    row = model.layers[layer]
    for t in range(TILE):
        begin = row[PLACE] + t * row[STRIDE]
        for at in range(
            begin + first * row[COLUMNS],
            begin + (first + count) * row[COLUMNS],
            lanes(room.backward),
        ):
            signal = load(room.forward, at)
            store(room.backward, at, load(room.backward, at) * (1.0 - signal * signal))


@compiled
def _pull_first(model: Model, e: Any, first: Any, count: Any, room: Signals) -> None:
    """Back through the first layer and the scaling."""
    members, row, columns = model.constants.shape[0], model.layers[0], model.columns
    weights = row[TURNED] + e * row[SHARE_TURNED]
    leading = members * row[COLUMNS]
    linear = leading + model.leading_columns
    # hidden units, leading components, linear terms
    for begin, number, add in (
        (first * row[COLUMNS], count * row[COLUMNS], 0),
        (leading, model.leading, 1),
        (linear + first, count, 1),
    ):
        product(
            room.backward,
            (begin, row[STRIDE]),
            number,
            model.weights,
            (weights + begin * columns, columns),
            room.pull,
            (0, columns, add),
        )
    for t in range(TILE):
        for d in range(0, columns, lanes(room.pull)):
            at = t * columns + d
            scale = load(model.inverse_spread, e * columns + d)
            store(room.pull, at, load(room.pull, at) * scale)
