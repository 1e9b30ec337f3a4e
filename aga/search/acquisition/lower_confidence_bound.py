"""Low enthalpy, allowing for the spread."""

from typing import Literal

from pydantic import Field

from aga.search.acquisition import Acquisition


class LowerConfidenceBound(Acquisition):
    """Lowest H - kappa * spread first (Srinivas et al. 2010, https://arxiv.org/abs/0912.3995).

    In the measurements behind the default, kappa of 0 to 2 differed by less than the noise.
    """

    kind: Literal["lower_confidence_bound"] = "lower_confidence_bound"
    kappa: float = Field(1.0, ge=0, description="Weight of the spread; 0 follows the mean alone.")

    def score(self, enthalpy: float, spread: float) -> float:
        """Optimistic enthalpy [eV/atom]."""
        return enthalpy - self.kappa * spread
