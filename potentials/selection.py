"""Which basis, ridge and weight of energies the linear term uses: what held-out errors say.

Parts of the loss have different units and different noise. Judged by the sum of the logarithms of
their errors, which is the likelihood under unknown noise of each part, none has to be weighed by
hand: a data set whose energies can be fitted to 0.5 meV/atom gets them so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from potentials.basis import most_components, size
from potentials.linear import Errors, Split, held_out, used_columns
from potentials.spec import LinearSpec, LossWeights

#: folds of the cross-validation
FOLDS = 5
#: products of at most so many components are tried on few labels
FEW = 24
#: the weight of energies and small ridges are tried from this number of labels on
TUNE_FROM = 60
#: factors on the energies' weight and on the ridge that are tried
ENERGY_FACTORS = (10.0, 100.0, 1000.0)
RIDGE_FACTORS = (10.0, 1.0, 0.1, 0.01, 0.001)
#: on few labels large ones matter: they halve the error on ten to thirty
FEW_RIDGES = (1000.0, 100.0, 10.0, 1.0, 0.1)
#: equations per coefficient that a basis must have at least
LEAST_EQUATIONS = 2.0
#: most coefficients of the linear term, all elements together
MOST_COEFFICIENTS = 1900
#: up to this number of labels each is a block of its own
MOST_SINGLE = 64
#: blocks of more labels; each keeps the sums of its forces
MOST_BLOCKS = 20
#: how much a stress counts beside an energy or a force: stresses of plane waves are not quite the
#: derivatives of their energies, and a fit of both to the last is a compromise
STRESS_COUNTS = 0.5
#: errors below this are rounding and no merit
SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Choice:
    """Number of components, ridge parameter and loss weights of a fit."""

    components: int
    ridge: float
    loss: LossWeights


def candidates(
    spec: LinearSpec, n_labels: int, n_equations: int, n_elements: int, n_plain: int
) -> list[int]:
    """Numbers of components worth trying, ascending; always 0.

    Args:
        spec: holds the largest number allowed.
        n_labels: number of structures.
        n_equations: number of energies, force components and virials.
        n_elements: number of elements E.
        n_plain: number of descriptors D.
    """
    limit = min(n_equations / LEAST_EQUATIONS, MOST_COEFFICIENTS) / n_elements
    most = min(most_components(n_plain, int(limit)), spec.components)
    if n_labels < TUNE_FROM:
        most = min(FEW, n_plain, spec.components)
    return sorted({0, *(p for p in (12, 24, 36) if p < most), most})


def choose(
    splits: Sequence[Split],
    spec: LinearSpec,
    loss: LossWeights,
    tried: Sequence[int],
    n_labels: int,
    n_elements: int,
) -> tuple[Choice, Errors | None]:
    """The choice of lowest held-out error, and its errors.

    On few labels the weight of energies is left as it is given.

    Args:
        splits: fits of the largest basis in ``tried``; without any nothing can be judged.
        spec: ridge to start from.
        loss: weights to start from.
        tried: numbers of components, ascending, the first 0.
        n_labels: number of structures.
        n_elements: number of elements.
    """
    best = Choice(0, spec.ridge, loss)
    if not splits:
        return best, None
    tuned = n_labels >= TUNE_FROM
    ridges = [spec.ridge * factor for factor in (RIDGE_FACTORS if tuned else FEW_RIDGES)]
    found: Errors | None = None

    def judge(components: int, weights: LossWeights) -> None:
        """Keep what is better than the best so far."""
        nonlocal best, found
        used = used_of(splits[0].seen.right.shape[1], components, tried[-1], n_elements)
        judged = held_out(splits, weights, ridges, used, n_elements)
        for ridge, errors in zip(ridges, judged, strict=True):
            if found is None or merit(errors, found, loss):
                best, found = Choice(components, ridge, weights), errors

    for components in tried:
        judge(components, loss)
    for factor in ENERGY_FACTORS if tuned else ():
        judge(best.components, loss.model_copy(update={"energy": loss.energy * factor}))
    return best, found


def used_of(n_columns: int, components: int, most: int, n_elements: int) -> Tensor:
    """Places of the coefficients of so many components among all C, those of ``most`` (U,)."""
    n_plain = (n_columns - n_elements) // n_elements - size(0, most)
    return used_columns(n_elements, n_plain, most, components)


def merit(one: Errors, other: Errors, loss: LossWeights) -> bool:
    """Whether ``one`` is better: by the sum of the logarithms of the errors that count.

    A part that the loss leaves out does not count.
    """
    counts = (loss.energy > 0, loss.forces > 0, STRESS_COUNTS * (loss.virial > 0))

    def total(errors: Errors) -> float:
        parts = (errors.energy, errors.forces, errors.virial)
        return sum(
            count * log(max(error, SMALLEST)) for count, error in zip(counts, parts, strict=True)
        )

    return total(one) < total(other)


def blocks(folds: Tensor) -> tuple[Tensor, Tensor]:
    """Block of every structure and fold of every block; few structures are a block each.

    Args:
        folds: a number from 0 to `MOST_BLOCKS` - 1 for every structure (F,).
    """
    if len(folds) <= MOST_SINGLE:
        return torch.arange(len(folds)), folds % FOLDS
    names, block = folds.unique(return_inverse=True)
    return block, names % FOLDS
