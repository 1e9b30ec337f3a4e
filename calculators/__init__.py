"""ASE side of the project: the ensemble as a Calculator, labelling engines, Dask pools."""

from typing import Any

__all__ = ["EnsembleCalculator"]


def __getattr__(name: str) -> Any:
    """Give ``EnsembleCalculator`` on first use: torch is not imported for engines alone."""
    if name == "EnsembleCalculator":
        from calculators.ensemble import EnsembleCalculator

        return EnsembleCalculator
    raise AttributeError(f"module 'calculators' has no attribute {name!r}")
