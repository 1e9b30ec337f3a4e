"""A batch of structures on the device: its state, lists and groups, and the host's looks at it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from potentials.device.fire import Rules, step
from potentials.device.model import Model, groups_of
from potentials.device.neighbours import CHUNK, Lists, build, empty, images
from potentials.device.recording import Stepper
from potentials.device.state import RUNNING, State

if TYPE_CHECKING:
    from potentials.device.setup import Setup

#: a list is renewed when this share of its skin is used up
WORN = 0.5
#: no structure
NOBODY = -1


@dataclass(frozen=True, eq=False, slots=True)
class Course:
    """What all batches of a relaxation have in common."""

    model: Model
    rules: Rules
    setup: "Setup"
    device: torch.device

    @property
    def radius(self) -> float:
        """Of the neighbour lists [Å]."""
        return self.model.cutoff + self.setup.skin


def lists_of(state: State, course: Course, width: int) -> Lists:
    """Lists of all structures of a state, a part of them at a time; looks at the device.

    Args:
        state: the structures.
        course: model and settings.
        width: room for the neighbours of an atom.
    """
    cutoff, radius = course.model.cutoff, course.radius
    needed = images(state, radius, cutoff).cpu().numpy()
    made = empty(state, width)
    order = np.argsort(needed, kind="stable")
    start, pairs = 0, state.species.shape[1] ** 2
    while start < len(order):
        # as many as fit with the largest number of images among them, at least one
        ahead = needed[order[start:]] * pairs * np.arange(1, len(order) - start + 1)
        stop = start + max(1, int(np.searchsorted(ahead, CHUNK, side="right")))
        own = torch.as_tensor(order[start:stop]).to(state.species.device)
        most = int(needed[order[stop - 1]])
        rows = build(
            state.rows(own),
            cutoff=cutoff,
            radius=radius,
            width=width,
            most=most,
            dtype=course.model.dtype,
        )
        made.put(own, rows)
        start = stop
    return made


@dataclass(frozen=True, eq=False, slots=True)
class Look:
    """What the host sees of a batch (M,): status, most neighbours of an atom, use of the skin."""

    status: NDArray[np.int64]
    count: NDArray[np.int64]
    use: NDArray[np.float64]


class Deck:
    """M structures under way.

    Args:
        state: the structures, on the device; changed in place.
        owners: which structure of the host each is (M,).
        species: element of each atom, -1 where there is none (M, A), on the host.
        course: model and settings.
        width: room for the neighbours of an atom.
    """

    def __init__(
        self,
        state: State,
        owners: NDArray[np.int64],
        species: NDArray[np.int64],
        course: Course,
        width: int,
    ) -> None:
        self.state, self.owners, self.species, self.course = state, owners, species, course
        self.worn = np.ones(len(owners), dtype=bool)
        self.lists = empty(state, width)
        self.groups = groups_of(species.ravel(), (0,) * course.model.n_elements, course.device)
        self._stepper: Stepper | None = None

    @property
    def on_board(self) -> NDArray[np.bool_]:
        """Where there is a structure (M,)."""
        taken: NDArray[np.bool_] = self.owners != NOBODY
        return taken

    def widen(self, width: int) -> None:
        """Room for more neighbours; all lists are made anew."""
        self.lists = empty(self.state, width)
        self.worn[:] = True
        self._stepper = None

    def renew(self) -> None:
        """New lists for structures that need them."""
        own = np.flatnonzero(self.worn & self.on_board)
        if len(own):
            index = self._index(own)
            rows = lists_of(self.state.rows(index), self.course, self.lists.width)
            self.lists.put(index, rows)
            self.worn[own] = False

    def advance(self) -> None:
        """Some steps, without a look at the device."""
        if self._stepper is None:
            state, lists, groups, course = self.state, self.lists, self.groups, self.course

            def once() -> None:
                step(state, lists, groups, course.model, course.rules, course.radius)

            self._stepper = Stepper(once, course.device, graph=course.setup.graph)
        self._stepper.run(self.course.setup.stride)

    def look(self) -> Look:
        """The one transfer to the host, and which lists are worn."""
        use = self.lists.use(self.state, self.course.model.cutoff, self.course.radius)
        whole = torch.stack([self.state.status, self.lists.crowd]).to(use.dtype)
        status, count, used = torch.cat([whole, use[None]]).cpu().numpy()
        self.worn |= (used > WORN) & (status == RUNNING)
        return Look(status.astype(np.int64), count.astype(np.int64), used.astype(np.float64))

    def replace(
        self,
        slots: NDArray[np.int64],
        owners: NDArray[np.int64],
        rows: State,
        host: NDArray[np.int64],
    ) -> None:
        """Other structures in some of the places.

        Args:
            slots: the places (m,).
            owners: which structures of the host (m,).
            rows: the structures.
            host: their species, -1 where there is no atom (m, A).
        """
        self.state.put(self._index(slots), rows)
        self.species[slots], self.worn[slots] = host, True
        self._regroup()
        # last: where memory runs out above, they have not come on board
        self.owners[slots] = owners

    def keep(self, slots: NDArray[np.int64]) -> None:
        """Only some of the places."""
        index = self._index(slots)
        self.state, self.lists = self.state.rows(index), self.lists.rows(index)
        self.owners, self.species = self.owners[slots], self.species[slots]
        self.worn = self.worn[slots]
        self.groups = groups_of(
            self.species.ravel(), (0,) * self.course.model.n_elements, self.course.device
        )
        self._stepper = None

    def _regroup(self) -> None:
        """Groups of the present atoms, in the same tensors where they still fit."""
        made = groups_of(self.species.ravel(), self.groups.sizes, self.course.device)
        if made.sizes == self.groups.sizes:
            self.groups.order.copy_(made.order)
            self.groups.place.copy_(made.place)
        else:
            self.groups, self._stepper = made, None

    def _index(self, slots: NDArray[np.int64]) -> torch.Tensor:
        return torch.as_tensor(slots).to(self.course.device)
