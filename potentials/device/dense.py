"""Energies, forces and virials of the mean of an ensemble on lists of static width."""

from typing import NamedTuple

import torch
from torch import Tensor

from potentials.device.algebra import turn
from potentials.device.model import Groups, Model
from potentials.device.neighbours import Lists
from potentials.device.state import State


class Found(NamedTuple):
    """Results for M structures of A atoms, in the type of the state.

    Attributes:
        energy: of the members [eV] (M, K).
        forces: mean [eV/Å] (M, A, 3).
        virial: mean dE/dstrain, symmetric [eV] (M, 3, 3).
        values: descriptors (M, A, D).
        square: squared lengths of the pairs [Å^2] (M, A, W); infinite where there is none.
        kind: element index of the neighbours (M, A, W).
    """

    energy: Tensor
    forces: Tensor
    virial: Tensor
    values: Tensor
    square: Tensor
    kind: Tensor


class Forward(NamedTuple):
    """Descriptors and wall of M structures, N = M x A atoms.

    Attributes:
        vectors: from every atom to its neighbours [Å] (N, W, 3).
        square: as in `Found`.
        kind: as in `Found`.
        values: descriptors (N, D), differentiable in the vectors.
        pushes: energies of the wall [eV] (N,), likewise.
    """

    vectors: Tensor
    square: Tensor
    kind: Tensor
    values: Tensor
    pushes: Tensor


def evaluate(state: State, lists: Lists, groups: Groups, model: Model, solid: Tensor) -> Found:
    """The same as `Ensemble.evaluate`.

    Args:
        state: the structures.
        lists: their neighbours; must hold.
        groups: their atoms by element.
        model: the ensemble.
        solid: structures that can be evaluated; others are taken as atoms without neighbours (M,).
    """
    shape = state.species.shape
    species = state.species.flatten()
    vectors, square, kind, values, pushes = forward(state, lists, model, solid)
    with torch.no_grad():
        scaled = model.scaled(values.detach(), species)
        energies, slopes = model.atomic(scaled, species, groups)
    pull = torch.autograd.grad([values, pushes], vectors, [slopes, torch.ones_like(pushes)])[0]
    energies = energies + pushes.detach()[:, None]
    return Found(
        energy=_sums(energies.reshape(*shape, -1), state, model),
        forces=_forces(pull.reshape(shape[0], -1, 3), lists).to(state.positions),
        virial=_virial(pull, vectors.detach(), shape[0]).to(state.positions),
        values=values.detach().reshape(*shape, -1),
        square=square,
        kind=kind,
    )


def forward(state: State, lists: Lists, model: Model, solid: Tensor) -> Forward:
    """What an evaluation differentiates; arguments as in `evaluate`."""
    width = lists.width
    vectors, there, square = _vectors(state, lists, model, solid)
    kind = _gather(state.species, lists.other)
    vectors = vectors.reshape(-1, width, 3).requires_grad_()
    there, species = there.flatten(0, 1), state.species.flatten()
    values, pushes = model.local(vectors, there, kind.flatten(0, 1), species)
    return Forward(vectors, square, kind, values, pushes)


def _gather(of_atoms: Tensor, other: Tensor) -> Tensor:
    """A number of every neighbour, from numbers of the atoms (M, A), or rows (M, A, 3)."""
    flat = other.flatten(1)
    if of_atoms.dim() == 3:
        flat = flat[..., None].expand(-1, -1, of_atoms.shape[2])
        return of_atoms.gather(1, flat).reshape(*other.shape, -1)
    return of_atoms.gather(1, flat).reshape(other.shape)


def _vectors(
    state: State, lists: Lists, model: Model, solid: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pair vectors (M, A, W, 3), where there are pairs (M, A, W), and their squared lengths."""
    n_systems, n_atoms, width = lists.other.shape
    apart = _gather(state.positions, lists.other) - state.positions[:, :, None] + lists.offset
    flat = apart.reshape(n_systems, -1, 3).to(model.dtype)
    turned = turn(flat, state.deformation.transpose(1, 2).to(model.dtype))
    vectors = turned.reshape(n_systems, n_atoms, width, 3)
    square = (vectors**2).sum(dim=3)
    there = lists.there & (square < model.cutoff**2) & solid[:, None, None]
    # a neighbour at the cutoff counts for nothing and does no harm
    away = torch.arange(3, device=square.device) == 0
    vectors = torch.where(there[..., None], vectors, away.to(vectors) * model.cutoff)
    return vectors, there, torch.where(there, square, torch.full_like(square, torch.inf))


def _sums(energies: Tensor, state: State, model: Model) -> Tensor:
    """Energies of the structures (M, K) from those of the atoms (M, A, K)."""
    atomic = energies.to(state.positions) + model.constants[state.species]
    return torch.where(state.real[..., None], atomic, torch.zeros_like(atomic)).sum(dim=1)


def _forces(pull: Tensor, lists: Lists) -> Tensor:
    """Forces (M, A, 3) from dE/d(pair vector) (M, A W, 3): each pair less its mirror image."""
    back = pull.gather(1, lists.mirror[..., None].expand(-1, -1, 3))
    return (pull - back).reshape(*lists.other.shape, 3).sum(dim=2)


def _virial(pull: Tensor, vectors: Tensor, n_systems: int) -> Tensor:
    """Symmetric sum of pull x vector over all pairs (M, 3, 3)."""
    outer = pull.reshape(n_systems, -1, 3).transpose(1, 2) @ vectors.reshape(n_systems, -1, 3)
    return 0.5 * (outer + outer.transpose(1, 2))
