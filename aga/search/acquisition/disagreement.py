"""Where the members of the ensemble differ most."""

from typing import Literal

from pydantic import Field

from aga.search.acquisition import Acquisition


class Disagreement(Acquisition):
    """Largest spread first, within a narrow window above the lowest enthalpy.

    Improves the potential near the answer; as the only rule of a search it fails without a narrow
    window, since the spread is largest where nothing is worth finding.
    """

    kind: Literal["disagreement"] = "disagreement"
    window_ev_per_atom: float = Field(
        0.1, gt=0, description="Only candidates this near the lowest enthalpy known [eV/atom]."
    )

    def score(self, enthalpy: float, spread: float) -> float:
        """Minus the spread [eV/atom]."""
        return -spread
