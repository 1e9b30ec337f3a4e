"""Moment descriptor: radial sums and invariants of harmonic moments; nothing to hand-tune.

The angular part is that of symmetry functions without the r_jk factor (Behler, Int. J. Quantum
Chem. 115, 1032 (2015), doi:10.1002/qua.24890), written as products of moments as in Shapeev,
Multiscale Model. Simul. 14, 1153 (2016), doi:10.1137/15M1054183, on spherical harmonics (Drautz,
Phys. Rev. B 99, 014104 (2019), doi:10.1103/PhysRevB.99.014104):

    sum_jk f(r_ij) f(r_ik) P_l(cos(theta_ijk)) = sum_m M_lm^2,   M_lm = sum_j f(r_ij) Y_lm(u_ij)

so that the cost is linear in the number of neighbours. Invariants of three moments (four-body)
are of the moments summed over elements, so that their number does not grow with the elements.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from potentials.descriptors import Descriptor

if TYPE_CHECKING:
    from torch import Tensor

Degree = Annotated[int, Field(ge=1, le=6)]
Triple = tuple[Degree, Degree, Degree]


class Moments(Descriptor):
    """Radial: local shells; angular: shells of a shorter range, l = 0 to 4; two triples.

    Every length scales with the cutoff, so that the cutoff is the only thing to choose.
    """

    kind: Literal["moments"] = "moments"
    radial: int = Field(12, ge=2, description="Radial functions per neighbour element.")
    angular: int = Field(6, ge=1, description="Radial functions of the angular part.")
    angular_range: float = Field(
        5 / 6, gt=0.2, le=1, description="Range of the angular part, as a share of the cutoff."
    )
    degree: int = Field(4, ge=1, le=6, description="Highest degree l of the harmonics.")
    triples: tuple[Triple, ...] = Field(
        ((1, 1, 2), (2, 2, 2)), description="Degrees of the three moments of four-body terms."
    )

    @field_validator("triples")
    @classmethod
    def _coupled(cls, triples: tuple[Triple, ...]) -> tuple[Triple, ...]:
        for one, two, three in triples:
            if (one + two + three) % 2 or not abs(one - two) <= three <= one + two:
                raise ValueError(
                    f"triple ({one}, {two}, {three}) has no invariant: its sum must be even and "
                    "each degree at most the sum of the other two, as in (1, 1, 2)"
                )
        return triples

    @property
    def harmonics(self) -> int:
        """Highest degree of harmonics that is needed."""
        return max([self.degree, *(degree for triple in self.triples for degree in triple)])

    @property
    def reach(self) -> float:
        """Range of the angular part [Å]."""
        return self.angular_range * self.cutoff

    def size(self, n_elements: int) -> int:
        """Components per atom."""
        pairs = n_elements * (n_elements + 1) // 2
        angular = self.angular * ((self.degree + 1) * pairs + len(self.triples))
        return self.radial * n_elements + angular

    def values(
        self,
        vectors: "Tensor",
        first: "Tensor",
        neighbour: "Tensor",
        species: "Tensor",
        n_elements: int,
    ) -> "Tensor":
        """Components (N, D): radial by element, angular by element pair, four-body."""
        import torch

        from potentials import moment_tensors as tensors

        distance = torch.linalg.vector_norm(vectors, dim=1)
        radial = tensors.shells(distance, self.cutoff, self.radial)
        radial = radial * tensors.envelope(distance, self.cutoff)[:, None]
        local = tensors.shells(distance, self.reach, self.angular)
        local = local * tensors.envelope(distance, self.reach)[:, None]
        directions = tensors.harmonics(vectors / distance[:, None], self.harmonics)
        slot = first * n_elements + neighbour
        n_slots = len(species) * n_elements
        sums = radial.new_zeros(n_slots, self.radial).index_add(0, slot, radial)
        moments = tensors.moments(local, directions, slot, n_slots)
        moments = moments.reshape(len(species), n_elements, self.angular, -1)
        levels = (self.degree + 1) ** 2
        parts = [
            sums.reshape(len(species), -1),
            tensors.pair_invariants(moments[..., :levels], self.degree),
        ]
        if self.triples:
            parts.append(tensors.triple_invariants(moments.sum(dim=1), self.triples))
        return torch.cat(parts, dim=1)

    def slopes(
        self,
        vectors: "Tensor",
        first: "Tensor",
        neighbour: "Tensor",
        species: "Tensor",
        n_elements: int,
    ) -> "Tensor":
        """Derivatives by the pair vectors (P, D, 3) [1/Å], written out."""
        import torch

        from potentials import moment_slopes as slopes
        from potentials import moment_tensors as tensors

        found = slopes.basis(vectors, self.reach, self.angular, self.harmonics)
        distance = torch.linalg.vector_norm(vectors.detach(), dim=1)
        radial = slopes.shells(distance, self.cutoff, self.radial)[1][..., None]
        member = torch.nn.functional.one_hot(neighbour, n_elements).to(vectors)[..., None, None]
        outward = member * (radial * found.directions[:, None])[:, None]
        slot = first * n_elements + neighbour
        n_slots = len(species) * n_elements
        moments = tensors.moments(found.radial, found.harmonics, slot, n_slots)
        moments = moments.reshape(len(species), n_elements, self.angular, -1)
        levels = [slice(order**2, (order + 1) ** 2) for order in range(self.degree + 1)]
        parts = [outward.flatten(1, 2)]
        for one in range(n_elements):
            for other in range(one, n_elements):
                weight = slopes.pair_weights(moments, first, neighbour, one, other)
                parts.append(found.pull(weight, levels).flatten(1, 2))
        if self.triples:
            every = [slice(None)]
            weights = slopes.triple_weights(moments.sum(dim=1), self.triples)[first]
            pulls = [found.pull(weight, every) for weight in weights.unbind(dim=2)]
            parts.append(torch.cat(pulls, dim=2).flatten(1, 2))
        return torch.cat(parts, dim=1)
