"""Which bases, ridges and weights of energies the linear term uses: what held-out errors say.

Parts of the loss have different units and different noise. Judged by the sum of the logarithms of
their errors, which is the likelihood under unknown noise of each part, none has to be weighed by
hand: a data set whose energies can be fitted to 0.5 meV/atom gets them so.

Held-out errors of few labels are themselves uncertain, so that the best of them is partly luck.
The linear term is therefore a mean over choices, in which each counts by its merit (exponential
weights, as in Dalalyan & Tsybakov 2008, doi:10.1007/s10994-008-5051-0); more labels sharpen it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

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
FEW_RIDGES = (1e5, 1e4, 1e3, 100.0, 10.0, 1.0, 0.1)
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
#: choices count as exp(-SHARPNESS labels difference); on 10 to 100 labels 0.03 to 0.1 serve alike
SHARPNESS = 0.05
#: choices whose share is below this part of the best one's are left out
LEAST_SHARE = 0.1
#: most choices in a mean; a large basis takes a while to solve
MOST_CHOICES = 12


@dataclass(frozen=True, slots=True)
class Choice:
    """Number of components, ridge parameter and loss weights of a fit."""

    components: int
    ridge: float
    loss: LossWeights


@dataclass(frozen=True, slots=True)
class Blend:
    """Choices whose mean is the linear term.

    Attributes:
        choices: the best first.
        shares: of each in the mean; they sum to one.
    """

    choices: tuple[Choice, ...]
    shares: tuple[float, ...] = (1.0,)

    @property
    def best(self) -> Choice:
        """The choice of highest merit."""
        return self.choices[0]

    @property
    def components(self) -> int:
        """Components of the largest basis among the choices."""
        return max(choice.components for choice in self.choices)


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
) -> tuple[Blend, Errors | None]:
    """Choices of low held-out error, and the errors of the best.

    On few labels the weight of energies is left as it is given.

    Args:
        splits: fits of the largest basis in ``tried``; without any nothing can be judged.
        spec: ridge to start from.
        loss: weights to start from.
        tried: numbers of components, ascending, the first 0.
        n_labels: number of structures.
        n_elements: number of elements.
    """
    if not splits:
        return Blend((Choice(0, spec.ridge, loss),)), None
    tuned = n_labels >= TUNE_FROM
    ridges = [spec.ridge * factor for factor in (RIDGE_FACTORS if tuned else FEW_RIDGES)]
    judged: list[tuple[Choice, Errors]] = []

    def judge(components: int, weights: LossWeights) -> None:
        used = used_of(splits[0].seen.right.shape[1], components, tried[-1], n_elements)
        errors = held_out(splits, weights, ridges, used, n_elements)
        choices = (Choice(components, ridge, weights) for ridge in ridges)
        judged.extend(zip(choices, errors, strict=True))

    def best() -> tuple[Choice, Errors]:
        return min(judged, key=lambda one: demerit(one[1], loss))

    for components in tried:
        judge(components, loss)
    components = best()[0].components
    for factor in ENERGY_FACTORS if tuned else ():
        judge(components, loss.model_copy(update={"energy": loss.energy * factor}))
    demerits = [demerit(errors, loss) for _, errors in judged]
    return blended([choice for choice, _ in judged], demerits, n_labels), best()[1]


def blended(choices: Sequence[Choice], demerits: Sequence[float], n_labels: int) -> Blend:
    """Choices by how good they are and how well that is known.

    Args:
        choices: what was judged.
        demerits: of each, lower is better; earlier choices win ties.
        n_labels: number of labels that judged them.
    """
    order = sorted(range(len(choices)), key=lambda place: demerits[place])[:MOST_CHOICES]
    sharpness, lowest = SHARPNESS * n_labels, demerits[order[0]]
    weights = [exp(-sharpness * (demerits[place] - lowest)) for place in order]
    kept = [(p, w) for p, w in zip(order, weights, strict=True) if w >= LEAST_SHARE]
    total = sum(weight for _, weight in kept)
    return Blend(tuple(choices[p] for p, _ in kept), tuple(w / total for _, w in kept))


def used_of(n_columns: int, components: int, most: int, n_elements: int) -> Tensor:
    """Places of the coefficients of so many components among all C, those of ``most`` (U,)."""
    n_plain = (n_columns - n_elements) // n_elements - size(0, most)
    return used_columns(n_elements, n_plain, most, components)


def demerit(errors: Errors, loss: LossWeights) -> float:
    """The sum of the logarithms of the errors; a part that the loss leaves out does not count.

    Args:
        errors: of energies, forces and virials.
        loss: its weights.
    """
    counts = (loss.energy > 0, loss.forces > 0, STRESS_COUNTS * (loss.virial > 0))
    parts = (errors.energy, errors.forces, errors.virial)
    logs = (log(max(error, SMALLEST)) for error in parts)
    return sum(count * size for count, size in zip(counts, logs, strict=True))


def merit(one: Errors, other: Errors, loss: LossWeights) -> bool:
    """Whether ``one`` is better."""
    return demerit(one, loss) < demerit(other, loss)


def blocks(folds: Tensor) -> tuple[Tensor, Tensor]:
    """Block of every structure and fold of every block; few structures are a block each.

    Folds of few structures are of equal size: chance would leave some with hardly any.

    Args:
        folds: a number from 0 to `MOST_BLOCKS` - 1 for every structure (F,).
    """
    if len(folds) <= MOST_SINGLE:
        place = folds.argsort(stable=True).argsort()
        return torch.arange(len(folds)), place % FOLDS
    names, block = folds.unique(return_inverse=True)
    return block, names % FOLDS
