"""Sections of the campaign file that say when something ends: relaxations, search, campaign."""

from pydantic import Field

from aga.config_compositions import Section


class RelaxationConfig(Section):
    """When a relaxation on the ensemble ends."""

    fmax_ev_per_a: float = Field(0.05, gt=0, description="Largest force at the end [eV/Å].")
    max_steps: int = Field(200, ge=1, description="Largest number of steps.")


class BudgetConfig(Section):
    """What the campaign may spend."""

    labels: int = Field(60, ge=1, description="Largest number of single points of the engine.")
    hours: float = Field(24.0, gt=0, description="Largest wall time, all starts together [h].")
    confirm_reserve: int = Field(
        6, ge=0, description="Labels of the budget that are kept for the confirmation."
    )


class StopConfig(Section):
    """When the search is finished before its budget is."""

    patience_labels: int = Field(
        6,
        ge=1,
        description="Labels in a row without a better distinct structure; more of cells with more "
        "than 16 atoms or three elements (MgSiO3 in 20 atoms: three times as many).",
    )
    patience_proposals: int = Field(
        3000,
        ge=0,
        description="New structures relaxed on the potential since the best was found, at least; "
        "more in proportion where more than 30 compositions are searched, and of large cells as "
        "above.",
    )
    spread_ev_per_atom: float = Field(
        0.02, gt=0, description="Largest calibrated spread left near the best [eV/atom]."
    )
    window_ev_per_atom: float = Field(
        0.01, gt=0, description="What lies this close to the best is near it [eV/atom]."
    )
    doubt: float = Field(
        0.2,
        gt=0,
        description="Better structures that may be expected, by the calibrated spreads, among the "
        "candidates that are left without a label.",
    )


class ConfirmConfig(Section):
    """What a structure must show with the engine itself before it counts as a result."""

    fmax_ev_per_a: float = Field(0.05, gt=0, description="Largest force [eV/Å].")
    stress_gpa: float = Field(1.0, gt=0, description="Largest deviation from the pressure [GPa].")
    window_ev_per_atom: float = Field(
        0.01, ge=0, description="Structures this close to the best are confirmed too [eV/atom]."
    )
    structures: int = Field(2, ge=1, description="Largest number of confirmed structures.")
    surrogate_steps: int = Field(
        4,
        ge=0,
        description="Rounds of relaxing on the ensemble and labelling before the engine "
        "relaxes by itself.",
    )
