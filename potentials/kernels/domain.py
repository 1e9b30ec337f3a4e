"""How far a structure is outside the training data: what `potentials.domain` does, compiled."""

from typing import Any

from potentials.kernels.compiling import compiled
from potentials.kernels.grids import fill
from potentials.kernels.model import Model
from potentials.kernels.networks import Signals
from potentials.kernels.simd import filled, lanes, larger, largest, load, magnitude, store


@compiled
def forget_means(room: Signals) -> None:
    """Begin with a structure."""
    fill(room.means, 0.0)


@compiled
def outside_of_atom(model: Model, e: Any, t: Any, room: Signals) -> Any:
    """Of atom ``t`` of the tile, of element ``e``, beyond the margin; it is added to the means."""
    columns = model.columns
    # nothing is further inside than half of the range
    worst = filled(room.values, -1.0)
    for d in range(0, columns, lanes(room.values)):
        value, own = load(room.values, t * columns + d), e * columns + d
        inside = value / (magnitude(value) + load(model.middle, own))
        store(room.means, own, load(room.means, own) + inside)
        beyond = larger(load(model.low, own) - inside, inside - load(model.high, own))
        worst = larger(worst, beyond * load(model.inverse_range, own))
    return float(largest(worst)) - model.margin


@compiled
def outside_of_means(model: Model, e: Any, count: Any, room: Signals) -> Any:
    """Of the means over all ``count`` atoms of element ``e``, beyond the margin."""
    columns = model.columns
    worst = filled(room.means, -1.0)
    for d in range(0, columns, lanes(room.means)):
        own = e * columns + d
        mean = load(room.means, own) * (1.0 / count)
        beyond = larger(load(model.mean_low, own) - mean, mean - load(model.mean_high, own))
        worst = larger(worst, beyond * load(model.mean_inverse, own))
    return float(largest(worst)) - model.mean_margin
