"""TorchANI: AEV and four networks in torch, random weights, single precision as it ships.

Gao et al., J. Chem. Inf. Model. 60, 3408 (2020), doi:10.1021/acs.jcim.0c00451. Energy, forces
and stress in one backward pass; its ASE calculator takes one for each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms

from peers.prepared import Found, Prepared, Variant
from peers.symmetry import HIDDEN
from peers.systems import CUTOFF

PACKAGE = "torchani"
REQUIRES = ("torchani", "torch==2.13.0")
MEMBERS = 4
VARIANTS = (
    Variant(
        "torchani",
        MEMBERS,
        "12 radial + 18 angular, rc 6/6, 30-30, fp32",
        # it wants the angular cutoff below the radial one
        {"angular_cutoff": CUTOFF - 0.001, "shifts": 3, "sections": 6, "scripted": False},
    ),
    Variant(
        "torchani (short angular)",
        MEMBERS,
        "12 radial + 32 angular, rc 6/3.5, 30-30, fp32",
        {"angular_cutoff": 3.5, "shifts": 8, "sections": 4, "scripted": True},
    ),
)


class Ready(Prepared):
    """One model; structures with different cells cannot be batched, so they follow each other."""

    def __init__(self, structures: Sequence[Atoms], variant: Variant) -> None:
        import torch

        super().__init__(structures)
        torch.manual_seed(0)
        symbols = sorted(set(structures[0].get_chemical_symbols()))
        self.torch = torch
        self.descriptor, self.networks = _model(symbols, variant.options)
        self.species = [
            torch.tensor([[symbols.index(symbol) for symbol in atoms.symbols]])
            for atoms in structures
        ]
        self.periodic = torch.tensor([True, True, True])

    def evaluate(self) -> list[tuple[Any, Any, Any]]:
        """Energy, forces and strain derivative of every structure."""
        return [self._one(*pair) for pair in zip(self.structures, self.species, strict=True)]

    def _one(self, atoms: Atoms, species: Any) -> tuple[Any, Any, Any]:
        torch = self.torch
        positions = torch.tensor(atoms.positions[None], dtype=torch.float32, requires_grad=True)
        strain = torch.eye(3, requires_grad=True)
        cell = torch.tensor(atoms.cell.array, dtype=torch.float32) @ strain
        values = self.descriptor(species, positions @ strain, cell, self.periodic)
        energy = self.networks(species, values)
        slope, pull = torch.autograd.grad(energy.sum(), (positions, strain))
        return energy, slope, pull

    def results(self) -> list[Found]:
        """Forces and stress from the derivatives."""
        return [
            Found(
                float(energy.detach()),
                -slope[0].numpy().astype(float),
                pull.numpy().astype(float) / atoms.get_volume(),
            )
            for atoms, (energy, slope, pull) in zip(self.structures, self.evaluate(), strict=True)
        ]


def prepare(variant: Variant, structures: Sequence[Atoms], folder: Path) -> Prepared:
    """Structures with a random model."""
    del folder
    return Ready(structures, variant)


def _model(symbols: Sequence[str], options: dict[str, Any]) -> tuple[Any, Any]:
    """Descriptor and networks, the networks stacked as the code offers for inference.

    The stacked ones call CUDA's profiler unless they are scripted. Scripting the descriptor made
    the short one faster and the long one slower: each runs in its faster form.
    """
    import torch
    from torchani.aev import AEVComputer, ANIAngular, ANIRadial
    from torchani.nn import ANINetworks, AtomicNetwork, Ensemble

    radial = ANIRadial.cover_linearly(start=0.9, cutoff=CUTOFF, eta=4.0, num_shifts=12)
    angular = ANIAngular.cover_linearly(
        start=0.9,
        cutoff=options["angular_cutoff"],
        eta=4.0,
        num_shifts=options["shifts"],
        num_sections=options["sections"],
    )
    descriptor: Any = AEVComputer(radial, angular, len(symbols), neighborlist="adaptive")
    layers = (descriptor.out_dim, *HIDDEN, 1)
    members = [
        ANINetworks({symbol: AtomicNetwork(layers, bias=True) for symbol in symbols})
        for _ in range(MEMBERS)
    ]
    stacked = Ensemble(members).to_infer_model()
    if options["scripted"]:
        descriptor = torch.jit.script(descriptor)
    return descriptor, torch.jit.script(stacked)
