"""Made-up training problems: scaled descriptors in, energies out, no forces."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from potentials.network import Networks
from potentials.network_training import Problem, Training, kept_out
from potentials.residual import Block
from potentials.spec import LossWeights, NetworkSpec

MEMBERS = 3
ENERGY_ONLY = LossWeights(energy=1.0, forces=0.0, virial=0.0)

Energies = Callable[[Tensor], Tensor]


def curved(inputs: Tensor) -> Tensor:
    """What no linear term can give."""
    return (torch.tanh(3.0 * inputs) - 0.8 * inputs).sum(dim=(1, 2))


def noise(inputs: Tensor) -> Tensor:
    return torch.as_tensor(np.random.default_rng(99).normal(size=len(inputs)))


def nothing(inputs: Tensor) -> Tensor:
    return torch.zeros(len(inputs), dtype=torch.float64)


def parts(
    energies: Energies, *, seed: int = 0, structures: int = 160, size: int = 1, batch: int = 40
) -> list[Block]:
    """Structures of two atoms of one element whose energy is a function of their inputs."""
    inputs = torch.as_tensor(np.random.default_rng(seed).normal(size=(structures, 2, size)))
    energy = energies(inputs).expand(MEMBERS, -1)
    return [
        Block(
            index=own,
            inputs=inputs[own],
            species=torch.zeros(len(own), 2, dtype=torch.int64),
            jacobian=torch.zeros(len(own), 2, size, 12, dtype=torch.float64),
            energy=energy[:, own].clone(),
            forces=torch.zeros(MEMBERS, len(own), 6, dtype=torch.float64),
            virial=None,
        )
        for own in torch.arange(structures).split(batch)
    ]


def problem(made: list[Block]) -> Problem:
    """Each member holds a quarter of the labels out."""
    structures = sum(len(part.index) for part in made)
    out = kept_out([f"s{index}" for index in range(structures)], MEMBERS, 0.25)
    return Problem(made, (~out).double(), out.double(), ENERGY_ONLY)


def settings(**changes: object) -> NetworkSpec:
    """Quick, patient, and with the weights of the loss that they end with."""
    data: dict[str, object] = {
        "hidden": (8,),
        "batch": 40,
        "epochs": 60,
        "learning_rate": 0.05,
        "patience": 1000,
        "weight_penalty": 1e-5,
        "prefactor_start": ENERGY_ONLY.model_dump(),
    }
    return NetworkSpec.model_validate(data | changes)


def training(
    made: list[Block], *, start: Networks | None = None, seed: int = 0, **changes: object
) -> Training:
    """A training of these parts, from new networks unless some are given."""
    size = made[0].inputs.shape[2]
    generator = torch.Generator().manual_seed(seed)
    networks = start or Networks(MEMBERS, 1, size, (8,), generator)
    return Training(settings(**changes), problem(made), networks, np.random.default_rng(seed))
