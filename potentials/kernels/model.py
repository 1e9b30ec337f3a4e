"""What the compiled code knows of a model, as flat arrays.

E elements, K members, D descriptors, P leading components. Descriptors stand in an order of their
own (`potentials.kernels.packing`), and every array is filled up to whole vectors with zeros.
"""

from typing import Any, NamedTuple

from potentials.kernels.harmonics import COUNT

#: atoms that are taken together, so that a weight is loaded once for all of them
TILE = 4
#: a tuple of as many entries: how Numba learns a number before it compiles
SLOTS = (0,) * TILE
#: rows of numbers kept for every neighbour: distance, its inverse, envelope and slope, then
#: channels, their derivatives, harmonics, and the channels again, neighbour by neighbour
DISTANCE, INVERSE, ENVELOPE, SLOPE, CHANNELS = range(5)
#: what stands in a row of `Model.layers`: units of a member, and that filled up; place of the
#: layer's signals and numbers of an atom; where weights, the same turned, and biases begin, and how
#: many weights an element or member has, turned or not
UNITS, COLUMNS, PLACE, STRIDE, WEIGHTS, TURNED, BIASES, SHARE, SHARE_TURNED = range(9)


def rows_of(channels: int) -> int:
    """Numbers kept for every neighbour of an atom."""
    return CHANNELS + 3 * channels + COUNT


def blocks_of(n_elements: int) -> int:
    """Blocks of moments of an atom: one an element, and their sum where there are several."""
    return n_elements + (n_elements > 1)


class Recipe(NamedTuple):
    """Parameters of the descriptor.

    Attributes:
        cutoff: radius of the environment [Å].
        elements: number of elements E.
        shells: number of radial functions summed as they are.
        gap: distance between their centres [Å].
        reach: of the angular part [Å].
        channels: a tuple with one entry for each channel, filled up to a power of two.
        angular: number of channels that there are.
        angular_gap: distance between the centres of their radial functions [Å].
        overlap: half widths of radial functions in units of these distances.
        two: rows of moments whose products are summed to an invariant (terms, 2).
        two_start: first of these for every block of invariants, and the end (blocks + 1,).
        three: the same for products of three moments (terms, 3).
        three_factor: of each such product (terms,).
        three_start: likewise.
        three_range: rows of moments that each triple needs: the first, and the end (triples, 2).
        levels: number of degrees l.
    """

    cutoff: float
    elements: int
    shells: int
    gap: float
    reach: float
    channels: Any
    angular: int
    angular_gap: float
    overlap: float
    two: Any
    two_start: Any
    three: Any
    three_factor: Any
    three_start: Any
    three_range: Any
    levels: int


class Model(NamedTuple):
    """Parameters of a model.

    The first layer makes, from the scaled descriptors, the hidden units of all members, then the
    leading components, then the linear term of all members.

    Attributes:
        recipe: the descriptor.
        descriptors, columns: number of descriptors D, and that filled up.
        mean: of the descriptors (E x D,).
        inverse_spread: one over their spread (E x D,).
        middle, low, high, inverse_range, mean_low, mean_high, mean_inverse: where the training
            data are, as in `potentials.domain.Ranges` (E x D,).
        margin, mean_margin: how far beyond that atoms and means are still inside.
        weights: all weights and biases, one after the other.
        layers: one row a hidden layer, at least one; columns named below (layers, 9).
        hidden: number of layers that are there: none where there are no networks.
        last: where the weights to the energy begin (E x K x columns).
        forms: quadratic forms of the leading components (E x P x form_columns,).
        leading, leading_columns: number of leading components P, and that filled up.
        form_columns: the latter for all members, filled up.
        constants: energies of single atoms [eV] (K, E), float64.
        wall: start of the wall [Å] (E, E), float64.
    """

    recipe: Any
    descriptors: int
    columns: int
    mean: Any
    inverse_spread: Any
    middle: Any
    low: Any
    high: Any
    inverse_range: Any
    mean_low: Any
    mean_high: Any
    mean_inverse: Any
    margin: float
    mean_margin: float
    weights: Any
    layers: Any
    hidden: int
    last: int
    forms: Any
    leading: int
    leading_columns: int
    form_columns: int
    constants: Any
    wall: Any
