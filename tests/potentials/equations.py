"""Made-up rows of the linear term: columns at random, labels that follow from coefficients."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from potentials.basis import size
from potentials.linear import CONSTANT_RIDGE, Equations, Row, Targets, equations
from potentials.spec import LossWeights


@dataclass(frozen=True)
class Made:
    """Rows and targets of F structures, all columns on E elements with D descriptors."""

    rows: list[Row]
    targets: list[Targets]
    weights: Tensor
    block: Tensor
    folds: Tensor
    n_elements: int
    n_plain: int
    most: int

    @property
    def problem(self) -> Equations:
        return equations(iter(self.rows), self.targets, self.weights, self.block)


def made_up(
    structures: int,
    *,
    n_elements: int = 2,
    n_plain: int = 4,
    most: int = 3,
    products: float = 1.0,
    noise: tuple[float, float, float] = (0.0, 0.0, 0.0),
    n_blocks: int | None = None,
    seed: int = 0,
) -> Made:
    """Every third structure without stress, two to four atoms.

    Args:
        structures: number of structures F.
        n_elements, n_plain, most: E, D and the largest number of components.
        products: size of the products' coefficients.
        noise: of energies per atom, forces and virials per atom.
        n_blocks: blocks of structures; each is its own by default.
        seed: of all numbers.
    """
    rng = np.random.default_rng(seed)
    per_element = size(n_plain, most)
    n_columns = n_elements * (per_element + 1)
    coefficients = rng.normal(size=n_columns)
    for element in range(n_elements):
        coefficients[element * per_element + n_plain : (element + 1) * per_element] *= products
    rows, targets = [], []
    for index in range(structures):
        n_atoms = int(rng.integers(2, 5))
        row = Row(
            torch.as_tensor(rng.normal(size=n_columns)) * n_atoms,
            torch.as_tensor(rng.normal(size=(3 * n_atoms, n_columns))),
            torch.as_tensor(rng.normal(size=(6, n_columns))) * n_atoms,
        )
        # constants have no derivative
        row.forces[:, -n_elements:] = 0.0
        row.virial[:, -n_elements:] = 0.0
        energy, forces, virial = (
            part.numpy() @ coefficients for part in (row.energy, row.forces, row.virial)
        )
        energy = energy + noise[0] * n_atoms * rng.normal()
        forces = forces + noise[1] * rng.normal(size=3 * n_atoms)
        virial = virial + noise[2] * n_atoms * rng.normal(size=6)
        known = index % 3 != 0
        targets.append(
            Targets(
                torch.as_tensor(energy),
                torch.as_tensor(forces),
                torch.as_tensor(virial) if known else None,
            )
        )
        rows.append(row)
    count = structures if n_blocks is None else n_blocks
    weights = torch.as_tensor(rng.uniform(0.2, 2.0, structures))
    return Made(
        rows=rows,
        targets=targets,
        weights=weights / weights.mean(),
        block=torch.arange(structures) % count,
        folds=torch.arange(count) % 5,
        n_elements=n_elements,
        n_plain=n_plain,
        most=most,
    )


def explicit(
    made: Made, times: Tensor, loss: LossWeights, ridge: float, used: Tensor
) -> np.ndarray:
    """Coefficients in use by least squares on explicit rows, one for each label and penalty.

    Args:
        made: rows and targets.
        times: how often each structure counts (F,).
        loss, ridge, used: as `solve` takes them.
    """
    share = (times * made.weights / (times * made.weights).sum()).numpy()
    left, right = [], []
    for row, goal, own in zip(made.rows, made.targets, share, strict=True):
        n_atoms = len(goal.forces) / 3
        parts = [
            (row.energy[None], goal.energy[None], loss.energy / n_atoms**2),
            (row.forces, goal.forces, loss.forces / len(goal.forces)),
        ]
        if goal.virial is not None:
            parts.append((row.virial, goal.virial, loss.virial / 6 / n_atoms**2))
        for columns, goals, weight in parts:
            left.append((own * weight) ** 0.5 * columns[:, used].numpy())
            right.append((own * weight) ** 0.5 * goals.numpy())
    penalty = np.full(len(used), ridge)
    penalty[-made.n_elements :] *= CONSTANT_RIDGE
    left.append(np.diag(penalty**0.5))
    right.append(np.zeros(len(used)))
    return np.linalg.lstsq(np.concatenate(left), np.concatenate(right), rcond=None)[0]
