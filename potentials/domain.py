"""Where the training data are, and how far a structure is outside.

A structure extrapolates where a descriptor of an atom, or the mean of a descriptor over its atoms
of one element, leaves the range of the training data. Means tell what single atoms do not: that
a structure as a whole is thinner or denser, say, than all that was labelled. Descriptors G are
first taken to G / (|G| + middle): those of dense structures reach so far that nothing else would
be seen beside them. Margins, by structures that were left out, keep false alarms near one per
cent of structures that are like the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from potentials.scaling import Scaling

#: smallest range that counts, of numbers between -1 and 1
NARROW = 0.2
#: smallest margin, in units of the range: what is rounded is not beyond; and largest: with hardly
#: any labels all is beyond them
LEAST_MARGIN, MOST_MARGIN = 1e-3, 0.5
#: share of the structures that were left out that the margin keeps inside
INSIDE = 0.99
FOLDS = 5
#: a descriptor that most atoms lack counts like one of at least this share of the largest
RARE = 1e-3
#: further than any number between -1 and 1: a range that is not known
_ANYWHERE = 2.0
#: and the other way round, the range of what is nowhere
NOWHERE = 10.0


@dataclass(frozen=True, eq=False, slots=True)
class Domain:
    """What is known of the training data beside the range of their atoms' descriptors.

    Attributes:
        middle: median size of the descriptors by element (E, D).
        means: smallest and largest mean over the atoms of an element in one structure, of
            descriptors between -1 and 1 (2, E, D).
        margins: how far beyond a range atoms and means are still inside, in units of that range.
    """

    middle: Tensor
    means: Tensor
    margins: tuple[float, float]

    @classmethod
    def unknown(cls, low: Tensor, high: Tensor) -> "Domain":
        """Where no more is known than the range of the atoms' descriptors (E, D)."""
        middle = 0.5 * (low.abs() + high.abs())
        ends = torch.full_like(low, _ANYWHERE)
        margins = LEAST_MARGIN, LEAST_MARGIN
        return cls(middle.clamp(min=1e-12), torch.stack([-ends, ends]), margins)


class Ranges(NamedTuple):
    """What an evaluation needs: ranges of numbers between -1 and 1 (E, D).

    Attributes:
        middle: of the descriptors.
        low, high, inverse: of atoms: smallest, largest, one over their difference.
        mean_low, mean_high, mean_inverse: the same of means.
        margins: as in `Domain`.
    """

    middle: Tensor
    low: Tensor
    high: Tensor
    inverse: Tensor
    mean_low: Tensor
    mean_high: Tensor
    mean_inverse: Tensor
    margins: tuple[float, float]

    def to(self, device: torch.device, dtype: torch.dtype) -> "Ranges":
        """The same elsewhere, in another precision."""
        return Ranges._make([*(tensor.to(device, dtype) for tensor in self[:-1]), self.margins])


def ranges(bounds: Tensor, scaling: Scaling, domain: Domain | None) -> Ranges:
    """What an evaluation needs.

    Args:
        bounds: smallest and largest scaled descriptors of the training data (2, E, D).
        scaling: of the descriptors.
        domain: what else is known, if anything.
    """
    low, high = bounds * scaling.spread + scaling.mean
    known = domain or Domain.unknown(low, high)
    low, high = (squashed(end, known.middle) for end in (low, high))
    least, most = known.means
    inverse, mean_inverse = _inverse(low, high), _inverse(least, most)
    return Ranges(known.middle, low, high, inverse, least, most, mean_inverse, known.margins)


def squashed(values: Tensor, middle: Tensor) -> Tensor:
    """Descriptors as numbers between -1 and 1, in the same order."""
    return values / (values.abs() + middle)


def _inverse(low: Tensor, high: Tensor) -> Tensor:
    return 1.0 / (high - low).clamp(min=NARROW)


def outside(values: Tensor, low: Tensor, high: Tensor, inverse: Tensor) -> Tensor:
    """Largest distance beyond a range, in units of it, (..., D) to (...); -1/2 in the middle."""
    return (torch.maximum(low - values, values - high) * inverse).amax(dim=-1)


class _Rows(NamedTuple):
    """Numbers between -1 and 1 of atoms or means (R, D), their element (R,) and structure (R,)."""

    values: Tensor
    element: Tensor
    system: Tensor


def extrapolation(
    values: Tensor, species: Tensor, system: Tensor, n_systems: int, known: Ranges
) -> Tensor:
    """How far structures are outside, in units of the range; negative inside (M,).

    Args:
        values: descriptors (N, D).
        species: element index (N,).
        system: structure of each atom (N,).
        n_systems: number of structures M.
        known: of the training data, by element.
    """
    atoms = _Rows(squashed(values, known.middle[species]), species, system)
    own = _beyond(atoms, (known.low, known.high, known.inverse), n_systems)
    means = (known.mean_low, known.mean_high, known.mean_inverse)
    whole = _beyond(_means(atoms, len(known.middle)), means, n_systems)
    return torch.maximum(own - known.margins[0], whole - known.margins[1])


def _beyond(rows: _Rows, known: tuple[Tensor, Tensor, Tensor], n_systems: int) -> Tensor:
    """How far the farthest row of each structure is outside (M,)."""
    found = outside(rows.values, *(part[rows.element] for part in known))
    nothing = found.new_full((n_systems,), -torch.inf)
    return nothing.scatter_reduce(0, rows.system, found, "amax")


def _means(atoms: _Rows, n_elements: int) -> _Rows:
    """Means over the atoms of every element in every structure."""
    place = atoms.system * n_elements + atoms.element
    places, own, count = place.unique(return_inverse=True, return_counts=True)
    summed = atoms.values.new_zeros(len(places), atoms.values.shape[1])
    means = summed.index_add(0, own, atoms.values) / count[:, None].to(atoms.values)
    return _Rows(means, places % n_elements, places.div(n_elements, rounding_mode="floor"))


def domain_of(
    values: Tensor, species: Tensor, sizes: Sequence[int], folds: Tensor, n_elements: int
) -> Domain:
    """The domain of labelled structures.

    Args:
        values: descriptors of all atoms (N, D).
        species: element index (N,).
        sizes: atoms of each structure (F,).
        folds: which each is left out with, from 0 to `FOLDS` - 1 (F,).
        n_elements: number of elements E, some of which may occur nowhere.
    """
    system = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    middle = _middle(values, species, n_elements)
    atoms = _Rows(squashed(values, middle[species]), species, system)
    means = _means(atoms, n_elements)
    margins = _margin(atoms, folds, n_elements), _margin(means, folds, n_elements)
    return Domain(middle, torch.stack(_ends(means, n_elements)), margins)


def _middle(values: Tensor, species: Tensor, n_elements: int) -> Tensor:
    """Median size of the descriptors by element (E, D)."""
    found = values.new_ones(n_elements, values.shape[1])
    for element in range(n_elements):
        own = values[species == element].abs()
        if len(own):
            median = own.median(dim=0).values
            # what most atoms lack is still of some size where they have it
            found[element] = median.clamp(min=max(RARE * float(median.max()), 1e-12))
    return found


def _ends(rows: _Rows, n_elements: int) -> tuple[Tensor, Tensor]:
    """Smallest and largest number by element (E, D); everything is beyond one that is nowhere."""
    index = rows.element[:, None].expand_as(rows.values)
    nowhere = rows.values.new_full((n_elements, rows.values.shape[1]), NOWHERE)
    ends = (
        nowhere.scatter_reduce(0, index, rows.values, kind, include_self=False)
        for kind in ("amin", "amax")
    )
    low, high = ends
    return low, high


def _margin(rows: _Rows, folds: Tensor, n_elements: int) -> float:
    """How far beyond the others structures are that were left out, but for a few."""
    names = folds.unique().tolist()
    if len(names) < FOLDS:
        return LEAST_MARGIN
    beyond = torch.cat([_left_out(rows, folds == fold, n_elements) for fold in names])
    # an element that is nowhere else says nothing about the margin
    beyond = beyond[beyond < (NOWHERE - 1.0) / NARROW]
    if not len(beyond):
        return LEAST_MARGIN
    return float(np.clip(np.quantile(beyond.numpy(), INSIDE), LEAST_MARGIN, MOST_MARGIN))


def _left_out(rows: _Rows, left_out: Tensor, n_elements: int) -> Tensor:
    """How far structures that are left out are outside the range of the others."""
    rest = _Rows(*(part[~left_out[rows.system]] for part in rows))
    low, high = _ends(rest, n_elements)
    return _beyond(rows, (low, high, _inverse(low, high)), len(left_out))[left_out]
