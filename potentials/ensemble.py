"""The ensemble: K potentials that share descriptors; one evaluation; saved without pickle."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from ase import Atoms
from torch import Tensor

from potentials.basis import contract
from potentials.batch import Batch, make_batch
from potentials.calibration import Calibration
from potentials.domain import Domain, extrapolation, ranges
from potentials.network import Networks
from potentials.saved import ABOUT, WEIGHTS, check_weights, read_about, write_about
from potentials.scaling import Scaling
from potentials.spec import EnsembleSpec
from potentials.wall import Wall

#: version of the saved format; raise it when the meaning of a field changes
FORMAT = 4
#: oldest format that is read: before it products stood in another order and moments were others;
#: of the training data it knows the range of the atoms' descriptors only, and of errors no floor
OLDEST = 3


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """Mean and spread of the members for a batch of M structures with N atoms.

    Attributes:
        energy: mean total energies [eV] (M,).
        member_energy: total energies of the members [eV] (K, M).
        energy_std: calibrated standard deviation over the members [eV/atom] (M,); NaN where there
            is one member only.
        forces: mean forces [eV/Å] (N, 3).
        stress: mean stresses [eV/Å^3] (M, 3, 3), tension positive.
        forces_std: calibrated standard deviation of the members' force vectors [eV/Å] (N,), or
            None where it was not asked for; NaN where there is one member only.
        extrapolation: how far the farthest descriptor of an atom, or mean over atoms, is beyond
            the range of the training data, in units of that range (M,); negative inside.
    """

    energy: Tensor
    member_energy: Tensor
    energy_std: Tensor
    forces: Tensor
    stress: Tensor
    forces_std: Tensor | None
    extrapolation: Tensor


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Ensemble:
    """K potentials E_i = reference + wall + linear term + network on shared descriptors.

    Attributes:
        spec: the settings it was fitted with.
        elements: atomic numbers in the order of the element index (E entries).
        scaling: scaling of the descriptors.
        reference: energy per atom of each element [eV] (E,).
        linear: coefficients of the members on the basis functions (K, E, C).
        constants: constants of the members [eV] (K, E).
        networks: networks on the residual, or None.
        wall: short-distance repulsion.
        bounds: smallest and largest scaled descriptors of the training data (2, E, D).
        calibration: factor from the members' spread of energies to the error to expect.
        engine: key of the engine whose labels were fitted.
        facts: what a reader wants to know (labels used, errors), plain JSON data.
        force_calibration: the same for forces.
        learned: trained parameters of the descriptor, shared by all members; none where it is
            fixed.
        energy_floor: error to expect where members agree [eV/atom].
        force_floor: the same of forces [eV/Å].
        domain: what is known of the training data beside ``bounds``; None in ensembles of other
            codes or of format 3, whose extrapolation looks at ``bounds`` alone.
        trained_on: labels that the networks were trained on, as `replay.short_keys` names them;
            empty where that is not known.
    """

    spec: EnsembleSpec
    elements: tuple[int, ...]
    scaling: Scaling
    reference: Tensor
    linear: Tensor
    constants: Tensor
    networks: Networks | None
    wall: Wall
    bounds: Tensor
    calibration: float
    engine: str
    facts: dict[str, Any]
    force_calibration: float = 1.0
    learned: dict[str, Tensor] = field(default_factory=dict)
    energy_floor: float = 0.0
    force_floor: float = 0.0
    domain: Domain | None = None
    trained_on: tuple[str, ...] = ()

    @property
    def cutoff(self) -> float:
        """Radius of the environment [Å]."""
        return self.spec.descriptor.cutoff

    @property
    def errors(self) -> Calibration:
        """From the members' spread to the error to expect."""
        return Calibration(
            self.calibration, self.force_calibration, self.energy_floor, self.force_floor
        )

    def batch(self, structures: Sequence[Atoms], dtype: torch.dtype = torch.float64) -> Batch:
        """Structures as this ensemble evaluates them.

        Raises:
            UnknownElementError: an element was not in the training data.
        """
        return make_batch(structures, self.elements, self.cutoff, dtype)

    def evaluate(self, batch: Batch, *, members: bool = False) -> Prediction:
        """Energies, forces and stresses of a batch: the one evaluation everything goes through.

        Args:
            batch: structures with their neighbours, as made by `batch`.
            members: also the spread of the forces (K further derivatives).
        """
        vectors = batch.vectors().detach().requires_grad_()
        values = self._values(batch, vectors)
        scaled = self.scaling.apply(values.detach(), batch.species)
        energies, slopes = self._atomic(scaled, batch.species)
        pushes = self._wall(batch, vectors)
        energies = energies + _by_first(pushes.detach(), batch)
        member_energy = _sum_by(energies, batch.system, batch.n_systems)
        slopes = slopes / self.scaling.spread[batch.species].to(slopes)
        pull = torch.autograd.grad(
            [values, pushes],
            vectors,
            [slopes.mean(dim=0), torch.ones_like(pushes)],
            retain_graph=members,
        )[0]
        count = batch.n_atoms.to(scaled)
        spread = self.errors.of_energies(_deviation(member_energy) / count)
        return Prediction(
            energy=member_energy.mean(dim=0),
            member_energy=member_energy,
            energy_std=spread,
            forces=_forces(pull, batch),
            stress=_stress(pull, vectors.detach(), batch),
            forces_std=self._forces_std(values, vectors, slopes, batch) if members else None,
            extrapolation=self._extrapolation(values.detach(), batch),
        )

    def predict(
        self,
        structures: Sequence[Atoms],
        *,
        members: bool = False,
        precision: Literal["float32", "float64"] = "float64",
    ) -> Prediction:
        """`evaluate` for ASE structures; compiled where there is code for it, else in float64.

        Args:
            structures: periodic or not.
            members: also the spread of the forces.
            precision: of the compiled model; sums and results are float64 in any case.
        """
        from potentials import kernels

        if kernels.supported(self):
            from potentials.kernels.compiled import Compiled

            return Compiled.of(self, precision).predict(structures, members=members)
        return self.evaluate(self.batch(structures), members=members)

    def atomic_energies(self, structures: Sequence[Atoms]) -> Tensor:
        """Energies of all atoms by each member [eV] (K, N), N atoms of all structures in order."""
        batch = self.batch(structures)
        vectors = batch.vectors()
        scaled = self.scaling.apply(self._values(batch, vectors), batch.species)
        energies, _ = self._atomic(scaled, batch.species)
        return energies + _by_first(self._wall(batch, vectors), batch)

    def _values(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Descriptors of all atoms (N, D)."""
        pairs, descriptor = batch.pairs, self.spec.descriptor.bound(self.learned)
        return descriptor.values(
            vectors, pairs.first, batch.species[pairs.second], batch.species, len(self.elements)
        )

    def _atomic(self, scaled: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
        """Atomic energies (K, N) and derivatives by scaled descriptors (K, N, D)."""
        energies, slopes = contract(self.linear, scaled, species, self.scaling)
        energies = energies + (self.constants + self.reference).to(scaled)[:, species]
        if self.networks is not None:
            with torch.no_grad():
                more, steeper = self.networks(scaled, species)
            energies, slopes = energies + more, slopes + steeper
        return energies, slopes

    def _wall(self, batch: Batch, vectors: Tensor) -> Tensor:
        pairs = batch.pairs
        distances = torch.linalg.vector_norm(vectors, dim=1)
        return self.wall.energies(
            distances, batch.species[pairs.first], batch.species[pairs.second]
        )

    def _forces_std(self, values: Tensor, vectors: Tensor, slopes: Tensor, batch: Batch) -> Tensor:
        """Standard deviation of the members' force vectors (N,); the wall is common to all."""
        forces = torch.stack(
            [
                _forces(torch.autograd.grad(values, vectors, slope, retain_graph=True)[0], batch)
                for slope in slopes
            ]
        )
        lengths: Tensor = torch.linalg.vector_norm(_deviation(forces), dim=1)
        return self.errors.of_forces(lengths)

    def _extrapolation(self, values: Tensor, batch: Batch) -> Tensor:
        known = ranges(self.bounds, self.scaling, self.domain).to(values.device, values.dtype)
        return extrapolation(values, batch.species, batch.system, batch.n_systems, known)

    def save(self, folder: Path) -> None:
        """Write ``ensemble.json`` and ``weights.pt`` into a new folder, all or nothing.

        Raises:
            FileExistsError: the folder holds an ensemble already.
        """
        folder = Path(folder)
        if (folder / ABOUT).exists():
            raise FileExistsError(
                f"{folder} holds an ensemble already; save into a new folder, or remove it first"
            )
        made = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        about = {
            "format": FORMAT,
            "spec": self.spec.model_dump(mode="json"),
            "elements": list(self.elements),
            "calibration": self.calibration,
            "force_calibration": self.force_calibration,
            "energy_floor": self.energy_floor,
            "force_floor": self.force_floor,
            "margins": None if self.domain is None else list(self.domain.margins),
            "engine": self.engine,
            "networks": self.networks is not None,
            "activations": None if self.networks is None else list(self.networks.activations),
            "facts": self.facts,
            "trained_on": list(self.trained_on),
        }
        torch.save(self._state(), made / WEIGHTS)
        write_about(made, about)
        for path in (*made.iterdir(), made):
            _flush(path)
        made.replace(folder)

    def _state(self) -> dict[str, Tensor]:
        state = {
            "mean": self.scaling.mean,
            "spread": self.scaling.spread,
            "components": self.scaling.components,
            "reference": self.reference,
            "linear": self.linear,
            "constants": self.constants,
            "wall": self.wall.start,
            "bounds": self.bounds,
        }
        if self.domain is not None:
            state |= {"middle": self.domain.middle, "means": self.domain.means}
        if self.networks is not None:
            inner = self.networks.state_dict()
            state |= {f"networks.{name}": tensor for name, tensor in inner.items()}
        return state | {f"learned.{name}": tensor for name, tensor in self.learned.items()}

    @classmethod
    def load(cls, folder: Path | str) -> "Ensemble":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no ensemble.
            ValueError: it was written by a newer version, or by one too old, or is damaged.
        """
        folder = Path(folder)
        about = read_about(folder)
        if about["format"] > FORMAT:
            raise ValueError(
                f"{folder} was written in format {about['format']}, this version reads up to "
                f"{FORMAT}; install a newer aga-search"
            )
        if about["format"] < OLDEST:
            raise ValueError(
                f"{folder} was written in format {about['format']}, whose descriptor and products "
                f"this version no longer has (it reads {OLDEST} to {FORMAT}); fit the labels anew"
            )
        check_weights(folder, about)
        state = torch.load(folder / WEIGHTS, weights_only=True)
        spec = EnsembleSpec.model_validate(about["spec"])
        return cls(
            spec=spec,
            elements=tuple(about["elements"]),
            scaling=Scaling(state["mean"], state["spread"], state["components"]),
            reference=state["reference"],
            linear=state["linear"],
            constants=state["constants"],
            networks=_networks(spec, state, about.get("activations"))
            if about["networks"]
            else None,
            wall=Wall(state["wall"]),
            bounds=state["bounds"],
            calibration=about["calibration"],
            engine=about["engine"],
            facts=about["facts"],
            force_calibration=about.get("force_calibration", about["calibration"]),
            learned=_part(state, "learned."),
            energy_floor=about.get("energy_floor", 0.0),
            force_floor=about.get("force_floor", 0.0),
            domain=_domain(state, about.get("margins")),
            trained_on=tuple(about.get("trained_on", ())),
        )


def _flush(path: Path) -> None:
    """Have a file or folder on the disk before it gets its final name."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _domain(state: dict[str, Tensor], margins: list[float] | None) -> Domain | None:
    """What was saved of the training data, if anything."""
    if margins is None:
        return None
    atoms, means = margins
    return Domain(state["middle"], state["means"], (atoms, means))


def _networks(
    spec: EnsembleSpec, state: dict[str, Tensor], activations: list[str] | None
) -> Networks:
    n_elements, size = state["mean"].shape
    hidden = spec.network.hidden
    made = Networks(
        spec.members, n_elements, size, hidden, torch.Generator(), activations=activations
    )
    made.load_state_dict(_part(state, "networks."))
    return made


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _deviation(members: Tensor) -> Tensor:
    """Standard deviation over the members, (K, ...) to (...); of a single one it is not known."""
    if len(members) == 1:
        return torch.full_like(members[0], torch.nan)
    return members.std(dim=0, unbiased=True)


def _by_first(of_pairs: Tensor, batch: Batch) -> Tensor:
    """Sums over the pairs of each atom (N,)."""
    zero = of_pairs.new_zeros(len(batch.positions))
    return zero.index_add(0, batch.pairs.first, of_pairs)


def _sum_by(atomic: Tensor, system: Tensor, n_systems: int) -> Tensor:
    """Sums over the atoms of each structure (K, M)."""
    return atomic.new_zeros(len(atomic), n_systems).index_add(1, system, atomic)


def _forces(pull: Tensor, batch: Batch) -> Tensor:
    """Forces (N, 3) from dE/d(pair vector) (P, 3)."""
    forces = pull.new_zeros(len(batch.positions), 3)
    return forces.index_add(0, batch.pairs.first, pull).index_add(0, batch.pairs.second, -pull)


def _stress(pull: Tensor, vectors: Tensor, batch: Batch) -> Tensor:
    """Stress (M, 3, 3) from dE/d(pair vector); zero for structures without a cell."""
    outer = pull[:, :, None] * vectors[:, None, :]
    of_pair = batch.system[batch.pairs.first]
    virial = pull.new_zeros(batch.n_systems, 3, 3).index_add(0, of_pair, outer)
    volume = torch.linalg.det(batch.cells).abs()[:, None, None]
    symmetric = 0.5 * (virial + virial.transpose(1, 2))
    return torch.where(volume > 0, symmetric / volume, torch.zeros_like(symmetric))
