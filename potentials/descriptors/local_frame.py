"""Neighbours in a frame fixed to the two nearest ones: the first deep potential.

Zhang et al., PRL 120, 143001 (2018), doi:10.1103/PhysRevLett.120.143001. Neighbours of each
element stand in the order of their distance; the nearest with (1/R, x/R^2, y/R^2, z/R^2), further
ones with 1/R alone. The formulas stand in `potentials.local_frames`.

**Not continuous.** Values jump where another atom becomes one of the two nearest, where two
neighbours of one element exchange their places, and where a neighbour enters the cutoff. Energies
jump with them: a relaxation may not converge, and molecular dynamics does not conserve the energy.
Use it to repeat published work on molecules and large cells; in a small crystal a neighbour and
its opposite image are often equally near, and the frame is then not even defined. `deeppot` is its
smooth successor.
"""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from potentials.descriptors import Descriptor

if TYPE_CHECKING:
    from torch import Tensor


class LocalFrame(Descriptor):
    """Sorted neighbours in the local frame; no parameters to train.

    Two departures from the source: a neighbour in line with the nearest one is passed over as
    second axis, and neighbours at equal distances are ordered by direction.
    """

    continuous: ClassVar[bool] = False
    mirror: ClassVar[bool] = False

    kind: Literal["local_frame"] = "local_frame"
    nearest: int = Field(12, ge=0, description="Neighbours per element with all four numbers.")
    radial: int = Field(24, ge=0, description="Further neighbours per element with 1/R alone.")

    @model_validator(mode="after")
    def _sees_something(self) -> "LocalFrame":
        """At least one neighbour."""
        if self.nearest + self.radial == 0:
            raise ValueError("nearest and radial are both 0; give at least one of them")
        return self

    def size(self, n_elements: int) -> int:
        """Components per atom."""
        return n_elements * (4 * self.nearest + self.radial)

    def values(
        self,
        vectors: "Tensor",
        first: "Tensor",
        neighbour: "Tensor",
        species: "Tensor",
        n_elements: int,
    ) -> "Tensor":
        """Components (N, D): by element, the nearest one after the other, then the radial ones."""
        import torch

        from potentials import local_frames

        n_atoms = len(species)
        distance = torch.linalg.vector_norm(vectors, dim=1)
        axes = local_frames.axes(vectors, distance, first, n_atoms)
        direction = torch.einsum("pab,pb->pa", axes[first], vectors) / distance[:, None]
        turned = direction.detach() @ direction.new_tensor([1.0, 0.6, 0.3])
        slot, n_slots = first * n_elements + neighbour, n_atoms * n_elements
        rank = local_frames.ranks(distance.detach() - local_frames.TIE * turned, slot, n_slots)
        inverse = 1.0 / distance[:, None]
        full = torch.cat([torch.ones_like(inverse), direction], dim=1) * inverse
        near = local_frames.ordered(full, rank, slot, n_slots, self.nearest)
        all_radial = local_frames.ordered(inverse, rank, slot, n_slots, self.nearest + self.radial)
        parts = [near.flatten(1), all_radial[:, self.nearest :].flatten(1)]
        return torch.cat(parts, dim=1).reshape(n_atoms, -1)
