"""The ensembles that are timed: fitted in a moment to a classical potential, eight members.

Silicon learns the Stillinger-Weber potential (Phys. Rev. B 31, 5262 (1985),
doi:10.1103/PhysRevB.31.5262), so that relaxations mean something; rutile learns made-up Morse
pairs, enough to time one evaluation. Networks are put in by force where the fit found no use for
them, and smaller ensembles are the first members of the one of eight.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from peers import systems
from peers.symmetry import HIDDEN, descriptor
from potentials.batch import make_batch
from potentials.ensemble import Ensemble
from potentials.network import Networks
from potentials.spec import EnsembleSpec
from potentials.structures import Frame, Label
from potentials.training import fit

MEMBERS = 8
#: labelled structures; a larger set would not be faster to evaluate
SILICON, RUTILE = 120, 8
#: standard deviation of the last layer of networks that the fit left out [eV]
FORCED = 0.005
#: energy [eV] of pair vectors (P, 3), first atoms (P,), elements of both ends (P,), (P,)
Energy = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
#: well depth [eV], inverse width [1/Å] and distance [Å] of O-O, O-Ti and Ti-Ti
MORSE = ((0.05, 1.5, 2.8), (0.9, 1.6, 1.95), (0.1, 1.5, 3.2))


def make(folder: Path, kind: str, element: str) -> Path:
    """Fit, or find, the ensemble of a descriptor kind for silicon ("si") or rutile ("tio2")."""
    where = folder / f"{element}_{kind}"
    if where.exists():
        return where
    chosen = {"kind": kind, "cutoff": systems.CUTOFF} if kind == "moments" else descriptor()
    spec = EnsembleSpec.model_validate(
        {
            "descriptor": chosen,
            "members": MEMBERS,
            "network": {"hidden": HIDDEN, "steps": 150, "min_labels": 24},
        }
    )
    ensemble = fit(spec, frames(element), np.random.default_rng(1))
    if ensemble.networks is None:
        ensemble = replace(ensemble, networks=_forced(ensemble))
    ensemble.save(where)
    return where


def load(where: Path, members: int) -> Ensemble:
    """The first ``members`` of a saved ensemble."""
    whole = Ensemble.load(where)
    if whole.networks is None:
        raise RuntimeError(f"{where} holds no networks; remove it, it will be made anew")
    for parameter in whole.networks.parameters():
        parameter.data = parameter.data[:, :members].contiguous()
    return replace(
        whole,
        spec=whole.spec.model_copy(update={"members": members}),
        linear=whole.linear[:members].contiguous(),
        constants=whole.constants[:members].contiguous(),
    )


def _forced(ensemble: Ensemble) -> Networks:
    n_elements, size = ensemble.scaling.mean.shape
    generator = torch.Generator().manual_seed(1)
    made = Networks(MEMBERS, n_elements, size, HIDDEN, generator)
    last = made.weights[-1]
    last.data = FORCED * torch.randn(last.shape, generator=generator, dtype=last.dtype)
    return made


def frames(element: str) -> list[Frame]:
    """Labelled structures from perfect to random."""
    rng = np.random.default_rng(0)
    if element == "si":
        made = [*systems.random_cells(SILICON // 2, seed=1)]
        made += [_strained(systems.silicon(), rng) for _ in range(SILICON - len(made))]
        energy, cutoff = stillinger_weber, 3.7712
    else:
        made = [_strained(systems.rutile(), rng) for _ in range(RUTILE)]
        energy, cutoff = morse, 5.0
    for index, atoms in enumerate(made):
        stretch = rng.uniform(0.93, 1.08) if index % 2 else 1.0
        atoms.set_cell(atoms.cell.array * stretch, scale_atoms=True)
    return [
        Frame(f"f{index:03d}", atoms, label(atoms, energy, cutoff))
        for index, atoms in enumerate(made)
    ]


def _strained(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    strain = np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(0.0, 0.15, atoms.positions.shape)
    return atoms


def label(atoms: Atoms, energy: Energy, cutoff: float) -> Label:
    """Energy, forces and stress from one derivative."""
    elements = sorted({int(number) for number in atoms.numbers})
    batch = make_batch([atoms], elements, cutoff)
    first, second = batch.pairs.first, batch.pairs.second
    vectors = batch.vectors().requires_grad_()
    total = energy(vectors, first, batch.species[first], batch.species[second])
    pull = torch.autograd.grad(total, vectors)[0]
    forces = torch.zeros(len(atoms), 3, dtype=torch.float64)
    forces = forces.index_add(0, first, pull).index_add(0, second, -pull)
    stress = (pull.T @ vectors.detach()).numpy() / atoms.get_volume()
    voigt = full_3x3_to_voigt_6_stress(0.5 * (stress + stress.T))
    return Label(float(total.detach()), forces.numpy(), np.asarray(voigt), engine=energy.__name__)


def stillinger_weber(vectors: Tensor, first: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Silicon: pairs, and a penalty on angles that are not tetrahedral [eV]."""
    del one, other
    sigma, depth, far = 2.0951, 2.1683, 1.80
    distance = torch.linalg.vector_norm(vectors, dim=1)
    reduced = distance / sigma
    gap = (reduced - far).clamp(max=-1e-6)
    pairs = 7.049556277 * (0.6022245584 * reduced**-4 - 1.0) * torch.exp(1.0 / gap)
    same = torch.triu(first[:, None] == first[None, :], diagonal=1)
    j, k = torch.nonzero(same, as_tuple=True)
    cosine = (vectors[j] * vectors[k]).sum(dim=1) / (distance[j] * distance[k])
    fall = torch.exp(1.2 / gap)
    bends = 21.0 * (cosine + 1.0 / 3.0) ** 2 * fall[j] * fall[k]
    return depth * (0.5 * pairs.sum() + bends.sum())


def morse(vectors: Tensor, first: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Rutile: Morse pairs that end smoothly at 5 Å [eV]."""
    del first
    distance = torch.linalg.vector_norm(vectors, dim=1)
    depth, width, rest = torch.tensor(MORSE, dtype=torch.float64)[one + other].T
    inside = 0.5 * (torch.cos(distance * (torch.pi / 5.0)) + 1.0)
    wells = depth * ((1.0 - torch.exp(-width * (distance - rest))) ** 2 - 1.0)
    return 0.5 * (wells * inside).sum()
