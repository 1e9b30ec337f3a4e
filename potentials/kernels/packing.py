"""From an `Ensemble` to the flat arrays of `Model`."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from potentials.basis import forms
from potentials.domain import ranges
from potentials.kernels.arrays import Bundle, aligned, up
from potentials.kernels.layout import Arrangement, Layout
from potentials.kernels.model import PLACE, STRIDE, TILE, Model, Recipe
from potentials.kernels.simd import WIDTH
from potentials.kernels.symmetry import symmetry_recipe

if TYPE_CHECKING:
    from torch import Tensor

    from potentials.descriptors import Descriptor
    from potentials.descriptors.moments import Moments
    from potentials.ensemble import Ensemble

#: half of a range that nothing is outside of
_WIDE = 2.0


class _Store:
    """Arrays one after the other, each from a whole vector on."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.lanes = WIDTH // np.dtype(dtype).itemsize
        self.parts: list[tuple[int, NDArray[Any]]] = []
        self.size = 0

    def add(self, values: NDArray[Any]) -> int:
        """Append; the place of the first number."""
        place = self.size
        self.parts.append((place, values.ravel()))
        self.size = up(place + values.size, self.lanes)
        return place

    def joined(self) -> NDArray[Any]:
        made = aligned(self.size + self.lanes, self.dtype)
        for place, values in self.parts:
            made[place : place + values.size] = values
        return made


def arranged(descriptor: "Descriptor", n_elements: int, dtype: Any) -> tuple[Arrangement, Bundle]:
    """Order and parameters of a descriptor that has compiled code, in float32 or float64."""
    from potentials.descriptors.acsf import Acsf

    if isinstance(descriptor, Acsf):
        symmetry = symmetry_recipe(descriptor, n_elements, dtype)
        return Arrangement(np.arange(symmetry.first.shape[1]), symmetry.first.shape[1]), Bundle(
            symmetry
        )
    moments = cast("Moments", descriptor)
    layout = Layout(moments, n_elements)
    made = recipe(moments, n_elements, layout, dtype)
    return Arrangement(layout.place, layout.count), Bundle(made)


def recipe(descriptor: "Moments", n_elements: int, layout: Layout, dtype: Any) -> Recipe:
    """Parameters of a descriptor, in float32 or float64."""
    from potentials.moment_tensors import OVERLAP

    return Recipe(
        cutoff=float(descriptor.cutoff),
        elements=n_elements,
        shells=descriptor.radial,
        gap=descriptor.cutoff / (descriptor.radial + 1),
        reach=descriptor.reach,
        channels=(0,) * layout.channels,
        angular=descriptor.angular,
        angular_gap=descriptor.reach / (descriptor.angular + 1),
        overlap=OVERLAP,
        two=layout.two,
        two_start=layout.two_start,
        three=layout.three,
        three_factor=layout.three_factor.astype(dtype),
        three_start=layout.three_start,
        three_range=layout.three_range,
        levels=descriptor.degree + 1,
    )


def pack(ensemble: "Ensemble", dtype: Any) -> Model:
    """All parameters of an ensemble that the compiled code supports, in float32 or float64."""
    layout, parameters = arranged(ensemble.spec.descriptor, len(ensemble.elements), dtype)
    columns = up(layout.count, 2 * WIDTH // np.dtype(dtype).itemsize)

    def row(values: "Tensor", fill: float = 0.0) -> NDArray[Any]:
        return _flat(layout.put(values.double().numpy(), columns, fill), dtype)

    known = ranges(ensemble.bounds, ensemble.scaling, ensemble.domain)
    weights = _Weights(ensemble, layout, columns, dtype)
    return Model(
        recipe=parameters,
        descriptors=layout.count,
        columns=columns,
        mean=row(ensemble.scaling.mean),
        inverse_spread=row(1.0 / ensemble.scaling.spread),
        middle=row(known.middle, 1.0),
        low=row(known.low, -_WIDE),
        high=row(known.high, _WIDE),
        inverse_range=row(known.inverse, 0.5 / _WIDE),
        mean_low=row(known.mean_low, -_WIDE),
        mean_high=row(known.mean_high, _WIDE),
        mean_inverse=row(known.mean_inverse, 0.5 / _WIDE),
        margin=known.margins[0],
        mean_margin=known.margins[1],
        weights=weights.joined,
        layers=weights.layers,
        hidden=weights.hidden,
        last=weights.last,
        forms=_flat(weights.forms, dtype),
        leading=weights.components,
        leading_columns=weights.form_columns,
        form_columns=weights.forms.shape[2],
        constants=weights.constants,
        wall=ensemble.wall.start.double().numpy(),
    )


def _flat(values: NDArray[Any], dtype: Any) -> NDArray[Any]:
    made = aligned(values.size + WIDTH // np.dtype(dtype).itemsize, dtype)
    made[: values.size] = values.ravel()
    return made


class _Weights:
    """The layers of all networks with the linear and quadratic terms as further columns."""

    def __init__(self, ensemble: "Ensemble", layout: Arrangement, columns: int, dtype: Any) -> None:
        lanes = WIDTH // np.dtype(dtype).itemsize
        self.step, self.columns, self.layout = 2 * lanes, columns, layout
        self.n_elements, self.members = len(ensemble.elements), len(ensemble.linear)
        turn = ensemble.scaling.components.double().numpy()
        self.components = turn.shape[2]
        self.form_columns = up(self.components, lanes)
        self.forms = self._forms(ensemble, turn)
        given, biases = _network_arrays(ensemble)
        self.hidden = len(given) - 1 if given else 0
        store = _Store(dtype)
        rows = [self._first(ensemble, turn, given, biases, store)]
        for layer in range(1, self.hidden):
            rows.append(self._deep(given[layer], biases[layer], rows[-1], store))
        self.layers = np.array(rows)
        self.constants = (ensemble.constants + ensemble.reference).double().numpy().copy()
        self.last = 0
        if given:
            self.last = store.add(self._fill(given[-1][..., 0]))
            self.constants += biases[-1][:, :, 0, 0].T
        self.joined = store.joined()

    def _fill(self, values: NDArray[Any]) -> NDArray[Any]:
        """The last axis filled up to whole pairs of vectors."""
        count = values.shape[-1]
        missing = up(count, self.step) - count
        return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])

    def _forms(self, ensemble: "Ensemble", turn: NDArray[Any]) -> NDArray[Any]:
        """Quadratic forms of the leading components, members side by side (E, P, K x P)."""
        count, plain, wide = self.components, turn.shape[1], self.form_columns
        made = np.zeros((self.n_elements, count, up(self.members * wide, self.step)))
        squares = forms(ensemble.linear[..., plain:].double(), count).numpy()
        for k, square in enumerate(squares):
            made[..., k * wide : k * wide + count] = square
        return made

    def _first(
        self,
        ensemble: "Ensemble",
        turn: NDArray[Any],
        given: list[NDArray[Any]],
        biases: list[NDArray[Any]],
        store: _Store,
    ) -> list[int]:
        """Row of `Model.layers` of the first layer."""
        units = given[0].shape[3] if self.hidden else 0
        wide = up(units, self.step)
        leading = self.members * wide
        linear = leading + self.form_columns
        stride = up(linear + self.members, self.step)
        plain = turn.shape[1]
        made = np.zeros((self.n_elements, plain, stride))
        made[:, :, leading : leading + self.components] = turn
        slopes = ensemble.linear[..., :plain].double().numpy()
        made[:, :, linear : linear + self.members] = slopes.transpose(1, 2, 0)
        bias = np.zeros((self.n_elements, leading))
        if self.hidden:
            for k in range(self.members):
                made[:, :, k * wide : k * wide + units] = given[0][:, k]
            bias = self._fill(biases[0][:, :, 0])
        placed = np.zeros((self.n_elements, self.layout.count, stride))
        placed[:, self.layout.place] = made
        turned = np.zeros((self.n_elements, stride, self.columns))
        turned[..., : self.layout.count] = placed.swapaxes(1, 2)
        share = placed[0].size
        places = [store.add(array) for array in (placed, turned, bias)]
        return [units, wide, 0, stride, *places, share, turned[0].size]

    def _deep(
        self, weights: NDArray[Any], biases: NDArray[Any], below: list[int], store: _Store
    ) -> list[int]:
        """Row of `Model.layers` of a further hidden layer."""
        units = weights.shape[3]
        wide = up(units, self.step)
        forward, turned = self._fill(weights), self._fill(weights.swapaxes(2, 3))
        places = [store.add(array) for array in (forward, turned, self._fill(biases[:, :, 0]))]
        begin = below[PLACE] + TILE * below[STRIDE]
        stride = self.members * wide
        return [units, wide, begin, stride, *places, forward[0, 0].size, turned[0, 0].size]


def _network_arrays(ensemble: "Ensemble") -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    """Weights (E, K, inputs, units) and biases (E, K, 1, units), layer by layer."""
    if ensemble.networks is None:
        return [], []
    return (
        [w.detach().double().numpy() for w in ensemble.networks.weights],
        [b.detach().double().numpy() for b in ensemble.networks.biases],
    )
