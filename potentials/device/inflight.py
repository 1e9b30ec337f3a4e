"""Relaxation of any number of structures on a device, a batch at a time.

Structures that have stopped give their places to waiting ones. The host looks at the device once
every few steps only; in between, steps follow each other without waiting. Where memory runs out,
all go back to wait, as far as they have come, and half as many are taken from then on.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from potentials.device.classes import classes, expected
from potentials.device.deck import NOBODY, Course, Deck, Look, lists_of
from potentials.device.ends import ends_of
from potentials.device.fire import Rules
from potentials.device.memory import batch_size, bytes_per_atom, free_bytes
from potentials.device.model import model_of
from potentials.device.setup import Setup
from potentials.device.state import RUNNING, State, state_of

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble
    from potentials.gates import Gates, Relaxed
    from potentials.relax import Offset

#: structures are swapped when this share of the places is free
SWAP = 1 / 16
#: a batch is packed together when less than this share of its places is taken
SPARSE = 1 / 2
#: structures with more neighbours than this factor times what was expected go in a batch apart
CROWDED = 2
#: lists that are too narrow grow by this factor over what is needed, to a multiple of STEP
GROWTH, STEP = 1.1, 8
#: structures whose memory is measured
SAMPLE = 4
_NO_LIMIT = 2**62


def relax(  # noqa: PLR0913  # the arguments of `potentials.relax.relax`, and where and how
    structures: Sequence[Atoms],
    ensemble: "Ensemble",
    *,
    device: torch.device | str,
    pressure: float = 0.0,
    fmax: float = 0.05,
    max_steps: int = 200,
    gates: "Gates | None" = None,
    offsets: "Sequence[Offset] | None" = None,
    setup: Setup | None = None,
) -> "list[Relaxed]":
    """Minimise H = E + pV of every structure on the mean of the members, on a device.

    Args:
        structures: starting crystals; not changed.
        ensemble: the model.
        device: where to compute.
        pressure: [eV/Å^3].
        fmax: converged when all forces and V (stress + p) / n are below it [eV/Å].
        max_steps: largest number of steps of each structure.
        gates: bounds that stop a structure; none by default.
        offsets: corrections of the model, one per structure.
        setup: precision, list and batch; float32 with a float64 state by default.

    Returns:
        What `potentials.relax.relax` returns, equal within the rounding of ``setup.dtype``.

    Raises:
        UnknownElementError: the ensemble does not know an element.
        ValueError: a structure does not repeat in three directions.
        torch.OutOfMemoryError: a single structure does not fit into memory.
    """
    if not structures:
        return []
    for index, atoms in enumerate(structures):
        if not atoms.pbc.all():
            raise ValueError(
                f"structure {index} does not repeat in three directions, and this relaxation is of "
                "crystals: use potentials.relax.relax"
            )
    setup, place = setup or Setup(), torch.device(device)
    rules = Rules.of(ensemble, gates, (pressure, fmax, max_steps)).to(place, setup.dtype)
    course = Course(model_of(ensemble, place, setup), rules, setup, place)
    widths = expected(structures, course.radius)
    sizes = np.array([len(atoms) for atoms in structures], dtype=np.int64)
    results: dict[int, Relaxed] = {}
    for own in classes(sizes, widths):
        host = state_of(
            [structures[index] for index in own],
            ensemble.elements,
            course.model.members,
            setup.state_dtype,
            None if offsets is None else [offsets[index] for index in own],
            crystals=True,
        )
        Flight(host, course).run(int(widths[own].max()))
        numbers = [structures[index].numbers for index in own]
        ends = ends_of(host, numbers, pressure, ensemble.errors)
        results.update(zip(own.tolist(), ends, strict=True))
    return [results[index] for index in range(len(structures))]


class Flight:
    """One class of structures: all of them on the host, a batch of them on the device.

    Args:
        host: all structures; those that have stopped are written back here.
        course: model, rules and settings.

    Attributes:
        batches: number of structures of every batch that was begun.
        width: room for the neighbours of an atom.
    """

    def __init__(self, host: State, course: Course) -> None:
        self.host, self.course = host, course
        self.species = torch.where(host.real, host.species, -1).numpy()
        self.waiting: deque[int] = deque()
        self.later: list[int] = []
        self.batches: list[int] = []
        self.width, self.widest = 0, 0

    def run(self, width: int) -> None:
        """Relax everything, beginning with room for ``width`` neighbours of an atom."""
        self.waiting.extend(range(len(self.species)))
        self.width, self.widest = width, CROWDED * width
        while self.waiting:
            self._all_waiting()
            # what is too crowded to go with the others goes on by itself, however crowded
            self.waiting.extend(self.later)
            self.later, self.widest = [], _NO_LIMIT

    def _all_waiting(self) -> None:
        slots = self._fitting()
        while self.waiting:
            slots = min(slots, len(self.waiting))
            self.batches.append(slots)
            if not self._fly(slots):
                slots //= 2
                if self.course.device.type == "cuda":
                    torch.cuda.empty_cache()

    def _fitting(self) -> int:
        """Number of structures that fit, by the memory that a few take."""
        few = torch.tensor([*self.waiting][:SAMPLE])
        state = self.host.rows(few).to(self.course.device)
        lists = lists_of(state, self.course, self.width)
        each = bytes_per_atom(state, lists, self.course.model)
        free = free_bytes(self.course.device, self.course.setup)
        return batch_size(free, each, self.species.shape[1], self.course.setup.most)

    def _fly(self, slots: int) -> bool:
        """Relax with ``slots`` structures at a time; False where memory ran out first.

        Raises:
            torch.OutOfMemoryError: one structure alone does not fit.
        """
        owners = np.array([self.waiting.popleft() for _ in range(slots)])
        deck = None
        try:
            rows = self.host.rows(torch.as_tensor(owners)).to(self.course.device)
            deck = Deck(rows, owners, self.species[owners], self.course, self.width)
            while deck.on_board.any():
                deck.renew()
                deck.advance()
                self._swap(deck, deck.look())
        except torch.OutOfMemoryError:
            if slots == 1:
                raise
            out = True
        else:
            out = False
        if out:
            self._return(owners if deck is None else deck.owners, deck)
        return not out

    def _return(self, owners: NDArray[np.int64], deck: Deck | None) -> None:
        """All of a batch back to the waiting ones, as far as they have come."""
        taken = np.flatnonzero(owners != NOBODY)
        if deck is not None:
            rows = deck.state.to(torch.device("cpu")).rows(torch.as_tensor(taken))
            self.host.put(torch.as_tensor(owners[taken]), rows)
        self.waiting.extendleft(owners[taken][::-1].tolist())

    def _swap(self, deck: Deck, look: Look) -> None:
        """Stopped structures out, waiting ones in; wider lists where they are too narrow."""
        flying = deck.on_board & (look.status == RUNNING)
        crowded = flying & (look.count > self.widest)
        flying &= ~crowded
        landed = deck.on_board & ~flying
        enough = landed.sum() >= SWAP * len(landed)
        if crowded.any() or enough or not flying.any():
            apart = deck.owners[crowded].tolist()
            self._land(deck, np.flatnonzero(landed))
            self.later.extend(apart)
            self._board(deck, np.flatnonzero(~flying))
        narrow = look.count[flying].max(initial=0)
        if narrow > deck.lists.width:
            self.width = int(-(-narrow * GROWTH // STEP) * STEP)
            deck.widen(self.width)

    def _land(self, deck: Deck, slots: NDArray[np.int64]) -> None:
        """Write structures back to the host."""
        index = torch.as_tensor(slots)
        rows = deck.state.rows(index.to(self.course.device))
        self.host.put(torch.as_tensor(deck.owners[slots]), rows)
        deck.owners[slots] = NOBODY

    def _board(self, deck: Deck, free: NDArray[np.int64]) -> None:
        """Fill free places with waiting structures; with few left, pack them together."""
        free = free[: len(self.waiting)]
        if len(free):
            owners = np.array([*self.waiting][: len(free)])
            rows = self.host.rows(torch.as_tensor(owners))
            deck.replace(free, owners, rows, self.species[owners])
            for _ in free:
                self.waiting.popleft()
        taken = np.flatnonzero(deck.on_board)
        if 0 < len(taken) < SPARSE * len(deck.owners):
            deck.keep(taken)
