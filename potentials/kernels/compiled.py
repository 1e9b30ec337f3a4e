"""The compiled form of an `Ensemble`: predictions and relaxations of many structures at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from ase import Atoms

from potentials.ensemble import Ensemble, Prediction
from potentials.kernels.arrays import Bundle
from potentials.kernels.bounds import Bounds, Ended, at_rest
from potentials.kernels.entries import Still, evaluate_many, relax_many
from potentials.kernels.gathering import (
    LONGEST_CALL,
    FloatArray,
    flat,
    gather,
    refuse_infinite,
    share,
)
from potentials.kernels.packing import pack
from potentials.kernels.relaxation import REASONS, RUNNING, Moving
from potentials.kernels.rooms import Desk
from potentials.kernels.structure import DONE, UNSOUND, Batch

Precision = Literal["float32", "float64"]


class Compiled:
    """Parameters of an ensemble, packed once for the compiled code.

    Args:
        ensemble: one that `potentials.kernels.supported` accepts.
        precision: of descriptors, networks and forces; positions, cells and sums are float64.
    """

    _made: ClassVar[WeakKeyDictionary[Ensemble, dict[str, "Compiled"]]] = WeakKeyDictionary()

    def __init__(self, ensemble: Ensemble, precision: Precision = "float64") -> None:
        self.elements = ensemble.elements
        self.errors = ensemble.errors
        self.dtype = np.dtype(precision)
        self.model = pack(ensemble, self.dtype)
        self._packed = Bundle(self.model)
        self._desks: list[Desk] = []

    @classmethod
    def of(cls, ensemble: Ensemble, precision: Precision = "float64") -> "Compiled":
        """The compiled form of this ensemble, made once."""
        own: dict[str, Compiled] = cls._made.setdefault(ensemble, {})
        if precision not in own:
            own[precision] = cls(ensemble, precision)
        return own[precision]

    def predict(
        self, structures: Sequence[Atoms], *, members: bool = False, threads: int | None = None
    ) -> Prediction:
        """What `Ensemble.evaluate` gives, for ASE structures.

        Args:
            structures: periodic or not.
            members: also the spread of the forces.
            threads: largest number of threads; as many as torch uses by default.

        Raises:
            UnknownElementError: an element was not in the training data.
            ValueError: a structure has no neighbour list: a position or cell vector is not
                finite, or a periodic cell has no volume.
        """
        given = gather(structures, self.elements)
        refuse_infinite(given)
        still = self._still(given, members=members)
        packed = Bundle(still)

        def work(start: int, stop: int) -> None:
            with self._desk(given, members=members, extrapolation=True) as desk:
                while start < stop:
                    start, ended = evaluate_many(desk.evaluator, packed, start, stop)
                    if ended == UNSOUND:
                        raise ValueError(flat(start))
                    if ended != DONE:
                        desk.grow(ended)

        share(work, given.first, 1, threads or torch.get_num_threads())
        return self._prediction(still, members=members)

    def relax(
        self,
        structures: Sequence[Atoms],
        bounds: Bounds,
        offsets: tuple[FloatArray, FloatArray] | None = None,
        threads: int | None = None,
    ) -> Ended:
        """Relax cells and positions, every structure until it stops.

        Args:
            structures: starting structures; cells of those that do not repeat in three directions
                stay as they are.
            bounds: when to stop.
            offsets: constant forces (N, 3) and stresses (M, 3, 3) added to the model.
            threads: largest number of threads; as many as torch uses by default.

        Raises:
            UnknownElementError: an element was not in the training data.
        """
        given = gather(structures, self.elements)
        moving = at_rest(given, len(self.model.constants), offsets)
        packed = Bundle(moving)

        def work(start: int, stop: int) -> None:
            atoms = int(given.first[stop] - given.first[start])
            most = max(LONGEST_CALL // max(atoms, 1), 1)
            rules = Bundle(bounds.rules())
            with self._desk(given, members=False, extrapolation=False) as desk:
                while (moving.status[start:stop] == RUNNING).any():
                    part = (start, stop, most)
                    _, ended = relax_many(desk.evaluator, packed, rules, part)
                    if ended != DONE:
                        desk.grow(ended)

        share(work, given.first, bounds.max_steps, threads or torch.get_num_threads())
        return self._ended(moving)

    @contextmanager
    def _desk(self, given: Batch, *, members: bool, extrapolation: bool) -> Iterator[Desk]:
        """Working memory that no other thread has at the same time."""
        n_atoms = int(np.diff(given.first).max())
        try:
            desk = self._desks.pop()
        except IndexError:
            desk = None
        asked = members, extrapolation
        if desk is None or desk.n_atoms < n_atoms or (desk.members, desk.extrapolation) != asked:
            desk = Desk(
                self._packed, self.dtype, n_atoms, members=members, extrapolation=extrapolation
            )
        yield desk
        self._desks.append(desk)

    def _still(self, given: Batch, *, members: bool) -> Still:
        n_structures, n_atoms = len(given.cells), len(given.positions)
        return Still(
            batch=Bundle(given),
            energy=np.zeros((n_structures, len(self.model.constants))),
            forces=np.zeros((n_atoms, 3)),
            virial=np.zeros((n_structures, 6)),
            variance=np.zeros(n_atoms if members else 0),
            extrapolation=np.zeros(n_structures),
        )

    def _prediction(self, still: Still, *, members: bool) -> Prediction:
        member_energy = torch.as_tensor(still.energy.T.copy())
        given: Batch = still.batch.parts
        spread = self.errors.of_energies(_deviation(still.energy) / np.diff(given.first))
        volumes = np.abs(np.linalg.det(given.cells))
        virial = still.virial[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
        stress = np.divide(
            virial,
            volumes[:, None, None],
            out=np.zeros_like(virial),
            where=volumes[:, None, None] > 0,
        )
        return Prediction(
            energy=member_energy.mean(dim=0),
            member_energy=member_energy,
            energy_std=torch.as_tensor(spread),
            forces=torch.as_tensor(still.forces),
            stress=torch.as_tensor(stress),
            forces_std=torch.as_tensor(self.errors.of_forces(np.sqrt(still.variance)))
            if members
            else None,
            extrapolation=torch.as_tensor(still.extrapolation),
        )

    def _ended(self, moving: Moving) -> Ended:
        energy = moving.energy
        given: Batch = moving.batch.parts
        sizes = np.diff(given.first)
        spread = self.errors.of_energies(_deviation(energy) / sizes)
        return Ended(
            positions=given.positions,
            cells=given.cells,
            energy=energy.mean(axis=1),
            spread=spread,
            fmax=moving.fmax,
            steps=moving.steps,
            status=moving.status,
            reason=[REASONS[code] for code in moving.reason],
        )


def _deviation(energy: FloatArray) -> FloatArray:
    """Standard deviation over the members, (M, K) to (M,); of a single one it is not known."""
    if energy.shape[1] == 1:
        return np.full(len(energy), np.nan)
    return np.asarray(energy.std(axis=1, ddof=1))
