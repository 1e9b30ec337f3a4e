"""Smooth deep potential: radial functions that are learned with the networks, not chosen.

DeepPot-SE, "se_e2_a" (Zhang et al., NeurIPS 2018, arXiv:1805.09003):

    D = (1/N_c^2) G^T R R^T G_<

with a row (s, s x/r, s y/r, s z/r) of R and a row g(s) of G for each neighbour, where g is a small
network for the elements of both atoms and G_< is made of the first columns of G. The formulas
stand in `potentials.deep_embedding`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from potentials.descriptors import Descriptor

if TYPE_CHECKING:
    from torch import Generator, Tensor


class DeepPot(Descriptor):
    """Embedding networks of each ordered pair of elements, shared by all members.

    The size does not depend on the number of elements. The default widths are a third of the
    published ones (25, 50, 100 with 16 axis neurons): on 75 labelled Cu-Au crystals held-out errors
    were half as large and a step took 40 % of the time.
    """

    kind: Literal["deeppot"] = "deeppot"
    inner: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the cutoff up to which a neighbour weighs 1/r: r_s / r_c.",
    )
    neurons: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (8, 16, 32), min_length=1, description="Units of the layers of the embedding networks."
    )
    axis: int = Field(4, ge=1, description="Axis neurons: columns of G_<.")
    neighbours: float = Field(
        64.0, gt=0, description="N_c, a constant near the usual number of neighbours."
    )
    _learned: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _axis_is_a_part(self) -> "DeepPot":
        """G_< is a part of G."""
        if self.axis > self.neurons[-1]:
            raise ValueError(
                f"axis is {self.axis}, but the last layer has {self.neurons[-1]} units; "
                "choose at most as many"
            )
        return self

    def size(self, n_elements: int) -> int:
        """Components per atom, whatever the number of elements."""
        return self.neurons[-1] * self.axis

    def learned(self, n_elements: int, generator: "Generator") -> "dict[str, Tensor]":
        """Random embedding networks."""
        from potentials.deep_embedding import initial

        return initial(self.neurons, n_elements, generator)

    def bound(self, learned: "Mapping[str, Tensor]") -> "DeepPot":
        """This descriptor with these embedding networks.

        Raises:
            ValueError: they are not those of these settings.
        """
        layers = len(self.neurons)
        expected = {f"{part}{n}" for part in ("weight", "bias") for n in range(layers)}
        widths = [learned[f"weight{n}"].shape[2] for n in range(layers) if set(learned) == expected]
        if widths != list(self.neurons):
            found = f"layers of {widths}" if widths else f"{', '.join(learned) or 'none'}"
            raise ValueError(
                f"descriptor deeppot: parameters of layers of {list(self.neurons)} expected, got "
                f"{found}; take those that were saved with these settings"
            )
        made = self.model_copy()
        made._learned = dict(learned)  # noqa: SLF001 - of its own class
        return made

    def values(
        self,
        vectors: "Tensor",
        first: "Tensor",
        neighbour: "Tensor",
        species: "Tensor",
        n_elements: int,
    ) -> "Tensor":
        """Components (N, D).

        Raises:
            ValueError: no parameters are bound.
        """
        import torch

        from potentials import deep_embedding

        if not self._learned:
            raise ValueError(
                "descriptor deeppot has parameters that are trained with the networks; give them "
                "with `bound` (an ensemble keeps them as `learned`), or use the kind moments"
            )
        distance = torch.linalg.vector_norm(vectors, dim=1)
        weight = deep_embedding.switched(distance, self.inner * self.cutoff, self.cutoff)
        # a pure number of order one
        signal = weight * self.cutoff
        slot = species[first] * n_elements + neighbour
        found = deep_embedding.invariants(
            deep_embedding.rows(vectors, distance, weight),
            deep_embedding.embedding(signal, slot, self._learned),
            first,
            len(species),
            self.axis,
        )
        return found / self.neighbours**2
