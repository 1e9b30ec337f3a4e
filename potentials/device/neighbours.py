"""Neighbour lists of many small cells by brute force over images, of static width.

A list reaches a skin beyond the cutoff. It holds for a structure as long as no pair from outside
can have come inside: with F0 and x0 the deformation and undeformed positions it was made at, a pair
of length r had at that time at most the length

    |v0| <= r |F0 F^-1| + 2 max |(x - x0) F0^T|

so that the list is complete while the right-hand side at the cutoff is below its radius. A
structure that it no longer holds for has to wait for a new one; nothing is ever missed.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from potentials.device.algebra import heights, inverse, turn
from potentials.device.state import State
from potentials.fire import MOST_IMAGES

#: lists are cut this much short of their radius [Å], for rounding
SLACK = 1e-4
#: candidates looked at together (numbers of a temporary)
CHUNK = 2**24


class Lists(NamedTuple):
    """Neighbours of M structures of A atoms, W for each atom.

    Attributes:
        other: which atom the neighbour is an image of (M, A, W).
        offset: how far the image is from it before deformation [Å] (M, A, W, 3).
        mirror: place of the same pair seen from the neighbour, among A x W (M, A x W).
        there: whether the place is taken (M, A, W).
        crowd: largest number of neighbours of any atom; more than W is too many (M,).
        positions: before deformation, when the list was made (M, A, 3).
        deformation: when the list was made (M, 3, 3).
    """

    other: Tensor
    offset: Tensor
    mirror: Tensor
    there: Tensor
    crowd: Tensor
    positions: Tensor
    deformation: Tensor

    @property
    def width(self) -> int:
        """Places for the neighbours of an atom, W."""
        return self.other.shape[2]

    def put(self, index: Tensor, rows: "Lists") -> None:
        """Overwrite the lists of some structures, in place."""
        for mine, theirs in zip(self, rows, strict=True):
            mine[index] = theirs

    def rows(self, index: Tensor) -> "Lists":
        """The lists of some structures."""
        return Lists(*(tensor[index] for tensor in self))

    def use(self, state: State, cutoff: float, radius: float) -> Tensor:
        """Share of the skin that is used up; not below 1 where the list does not hold (M,)."""
        strain = turn(self.deformation, inverse(state.deformation))
        strain = strain - torch.eye(3, dtype=strain.dtype, device=strain.device)
        stretch = torch.linalg.vector_norm(strain, dim=(1, 2))
        moved = turn(state.positions - self.positions, self.deformation.transpose(1, 2))
        farthest = torch.linalg.vector_norm(moved, dim=2).amax(dim=1)
        used = (cutoff * stretch + 2.0 * farthest) / (radius - cutoff - SLACK)
        # what is not a number does not hold either
        holds = (used < 1.0) & (self.crowd <= self.width)
        return torch.where(holds, used, used.clamp(min=1.0).nan_to_num(nan=1.0))


def empty(state: State, width: int) -> Lists:
    """Lists that hold for nothing, with room for ``width`` neighbours."""
    n_systems, n_atoms = state.species.shape
    shape, device = (n_systems, n_atoms, width), state.species.device
    return Lists(
        other=torch.zeros(shape, dtype=torch.int64, device=device),
        offset=state.positions.new_zeros(*shape, 3),
        mirror=torch.zeros(n_systems, n_atoms * width, dtype=torch.int64, device=device),
        there=torch.zeros(shape, dtype=torch.bool, device=device),
        crowd=torch.full((n_systems,), 2**31 - 1, dtype=torch.int64, device=device),
        positions=torch.zeros_like(state.positions),
        deformation=torch.zeros_like(state.deformation),
    )


def sound(state: State, cutoff: float) -> tuple[Tensor, Tensor]:
    """Structures whose numbers are finite, and those with a list of finite work, (M,) each."""
    positions, cells = state.now()
    finite = torch.isfinite(positions).all(dim=2).all(dim=1)
    finite &= torch.isfinite(cells).all(dim=2).all(dim=1)
    flat = (heights(cells) > cutoff / MOST_IMAGES) | ~state.periodic
    return finite, finite & flat.all(dim=1)


def reach(state: State, radius: float, cutoff: float) -> Tensor:
    """Number of images to look at along each cell vector, to each side (M, 3).

    Pairs are first brought to the nearest image by their fractional difference, so that half a
    cell is enough beyond what the radius takes.
    """
    _, solid = sound(state, cutoff)
    _, cells = state.now()
    wanted = torch.floor(radius / heights(cells) + 0.5)
    wanted = torch.where(solid[:, None] & state.periodic, wanted, torch.zeros_like(wanted))
    return wanted.to(torch.int64)


def images(state: State, radius: float, cutoff: float) -> Tensor:
    """Number of images that a list of this radius has to look at (M,)."""
    return (2 * reach(state, radius, cutoff) + 1).prod(dim=1)


def build(
    state: State, *, cutoff: float, radius: float, width: int, most: int, dtype: torch.dtype
) -> Lists:
    """Lists of all structures; no look at the device.

    Args:
        state: the structures.
        cutoff: of the model [Å]; decides which cells are too flat for a list.
        radius: of the list [Å].
        width: places for the neighbours of an atom, W.
        most: at least the largest number of `images`.
        dtype: of distances; a pair at the radius may be on either side by rounding.
    """
    _, solid = sound(state, cutoff)
    _, cells = state.now()
    sides = reach(state, radius, cutoff)
    shifts, valid = _shifts(sides, most)
    near, home = _nearest(state, cells, dtype)
    close = _close(near, turn(shifts.to(dtype), cells.to(dtype)), radius)
    close &= (valid & solid[:, None])[:, None, None, :]
    close &= state.real[:, :, None, None] & state.real[:, None, :, None]
    close &= ~_selves(state, shifts, home)
    return _lists(state, close, shifts, valid.sum(dim=1), home, width)


def _shifts(sides: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Lattice translations of every structure (M, I, 3) and which of them count (M, I)."""
    number = torch.arange(most, device=sides.device)[None, :]
    widths = 2 * sides + 1
    planes = widths[:, 1:2] * widths[:, 2:3]
    a = torch.div(number, planes, rounding_mode="floor")
    b = torch.div(number, widths[:, 2:3], rounding_mode="floor") % widths[:, 1:2]
    c = number % widths[:, 2:3]
    shifts = torch.stack([a.expand_as(b), b, c], dim=2) - sides[:, None, :]
    return shifts, number < widths.prod(dim=1, keepdim=True)


def _nearest(state: State, cells: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Vectors i to j between nearest images (M, A, A, 3), and the translations that were taken."""
    fraction = turn(state.positions, inverse(state.cells))
    apart = fraction[:, None, :, :] - fraction[:, :, None, :]
    home = torch.where(
        state.periodic[:, None, None, :], -torch.round(apart), torch.zeros_like(apart)
    )
    n_systems, n_atoms = state.species.shape
    flat = turn((apart + home).reshape(n_systems, n_atoms**2, 3), cells)
    return flat.to(dtype).reshape(apart.shape), home


def _close(near: Tensor, shifts: Tensor, radius: float) -> Tensor:
    """Which images are within the radius (M, A, A, I), by |d + t|^2 = d^2 + t^2 + 2 d.t."""
    n_systems, n_atoms = near.shape[:2]
    flat = near.reshape(n_systems, n_atoms**2, 1, 3)
    moved = shifts[:, None]
    square = (flat**2).sum(dim=3) + (moved**2).sum(dim=3)
    for axis in range(3):
        square.addcmul_(flat[..., axis], moved[..., axis], value=2.0)
    return (square < radius**2).reshape(n_systems, n_atoms, n_atoms, -1)


def _selves(state: State, shifts: Tensor, home: Tensor) -> Tensor:
    """Atoms as their own neighbours, (M, A, A, I)."""
    n_atoms = state.species.shape[1]
    same = torch.eye(n_atoms, dtype=torch.bool, device=shifts.device)
    middle = (shifts == 0).all(dim=2)
    return same[None, :, :, None] & middle[:, None, None, :]


def _lists(
    state: State, close: Tensor, shifts: Tensor, counted: Tensor, home: Tensor, width: int
) -> Lists:
    """The first ``width`` neighbours of every atom, found by their rank among all candidates.

    Args:
        state: the structures.
        close: whether a candidate is a neighbour (M, A, A, I).
        shifts: translations of the images (M, I, 3).
        counted: number of images of each structure (M,).
        home: translations to the nearest image (M, A, A, 3).
        width: places, W.
    """
    n_systems, n_atoms, _, n_images = close.shape
    rank = close.reshape(n_systems * n_atoms, -1).cumsum(dim=1, dtype=torch.int32)
    wanted = torch.arange(1, width + 1, dtype=torch.int32, device=close.device)
    chosen = torch.searchsorted(rank, wanted.expand(len(rank), -1).contiguous())
    chosen = chosen.reshape(n_systems, n_atoms, width)
    there = chosen < n_atoms * n_images
    chosen = torch.where(there, chosen, torch.zeros_like(chosen))
    other = torch.div(chosen, n_images, rounding_mode="floor")
    image = chosen % n_images
    structure = torch.arange(n_systems, device=close.device)[:, None, None]
    atom = torch.arange(n_atoms, device=close.device)[None, :, None]
    moved = home[structure, atom, other] + shifts[structure, image].to(home)
    # the same pair seen from the other atom: translations are listed symmetrically
    back = counted[:, None, None] - 1 - image
    seen = ((structure * n_atoms + other) * n_atoms + atom) * n_images + back
    place = rank.flatten()[seen].to(torch.int64) - 1
    own = atom * width + torch.arange(width, device=close.device)
    good = there & (place < width) & close.flatten()[seen]
    offset = turn(moved.reshape(n_systems, -1, 3), state.cells).reshape(*moved.shape)
    return Lists(
        other=torch.where(there, other, atom.expand_as(other)),
        offset=torch.where(there[..., None], offset, torch.zeros_like(offset)),
        mirror=torch.where(good, other * width + place, own).reshape(n_systems, -1),
        there=there,
        crowd=rank[:, -1].reshape(n_systems, n_atoms).amax(dim=1).to(torch.int64),
        positions=state.positions.clone(),
        deformation=state.deformation.clone(),
    )
