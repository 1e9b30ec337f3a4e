"""Moment descriptor: radial sums and invariants of moment tensors; nothing to hand-tune.

The angular part is that of symmetry functions without the r_jk factor (Behler, Int. J. Quantum
Chem. 115, 1032 (2015), doi:10.1002/qua.24890), written as products of moment tensors as in
Shapeev, Multiscale Model. Simul. 14, 1153 (2016), doi:10.1137/15M1054183:

    sum_jk f(r_ij) f(r_ik) cos^l(theta_ijk) = <M^l, M^l>,   M^l = sum_j f(r_ij) u_ij x ... x u_ij

so that the cost is linear in the number of neighbours. The powers are combined to Legendre
polynomials of cos(theta), which are orthogonal on random directions and keep the fit conditioned.
"""

from math import pi
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from potentials.descriptors import Descriptor

if TYPE_CHECKING:
    from torch import Tensor


class Moments(Descriptor):
    """Radial: local shells; angular: powers of the cutoff function, l = 0 to 4.

    Every length scales with the cutoff, so that the cutoff is the only thing to choose.
    """

    kind: Literal["moments"] = "moments"
    radial: int = Field(12, ge=2, description="Radial functions per neighbour element.")
    # below 1 the slope would not vanish at the cutoff
    powers: tuple[Annotated[float, Field(ge=1)], ...] = Field(
        (2.0, 4.0, 9.0), description="Angular part: powers of the cutoff function, wide to narrow."
    )
    degree: int = Field(4, ge=1, le=6, description="Highest power of cos(theta).")

    def size(self, n_elements: int) -> int:
        """Components per atom."""
        pairs = n_elements * (n_elements + 1) // 2
        return self.radial * n_elements + len(self.powers) * (self.degree + 1) * pairs

    def values(
        self,
        vectors: "Tensor",
        first: "Tensor",
        neighbour: "Tensor",
        species: "Tensor",
        n_elements: int,
    ) -> "Tensor":
        """Components (N, D): radial by element, then angular by element pair."""
        import torch

        from potentials import moment_tensors as tensors

        n_atoms = len(species)
        distance = torch.linalg.vector_norm(vectors, dim=1)
        envelope = 0.5 * (torch.cos(distance * (pi / self.cutoff)) + 1.0)
        radial = tensors.shells(distance, self.cutoff, self.radial) * envelope[:, None]
        powers = torch.tensor(self.powers, dtype=vectors.dtype, device=vectors.device)
        local = envelope[:, None] ** powers
        directions = tensors.monomials(vectors / distance[:, None], self.degree)
        slot = first * n_elements + neighbour
        sums = radial.new_zeros(n_atoms * n_elements, self.radial).index_add(0, slot, radial)
        moments = tensors.moments(local, directions, slot, n_atoms * n_elements)
        moments = moments.reshape(n_atoms, n_elements, len(self.powers), -1)
        angular = tensors.invariants(moments, self.degree)
        return torch.cat([sums.reshape(n_atoms, -1), angular], dim=1)
