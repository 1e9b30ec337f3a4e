"""The settings of an ensemble: what is fitted and how. Plain models, no torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator

from potentials.descriptors import Descriptor, build


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelWeights(Settings):
    """How much one label counts: w = [exp(-(E - Emin)/s) + floor] / [1 + (Fmax/f)^2]."""

    energy_scale_ev_per_atom: float = Field(
        0.3, gt=0, description="Scale s: labels this far above the lowest count 1/e [eV/atom]."
    )
    floor: float = Field(0.01, ge=0, description="Weight left to labels far above the lowest.")
    force_scale_ev_per_a: float = Field(
        3.0, gt=0, description="Scale f: labels with this largest force count half [eV/Å]."
    )


class LossWeights(Settings):
    """Relative weight of the three parts of the loss (eV, Å; stress as virial per atom)."""

    energy: float = Field(1.0, ge=0, description="Weight of (dE/n)^2.")
    forces: float = Field(0.1, ge=0, description="Weight of the mean squared force error.")
    virial: float = Field(0.1, ge=0, description="Weight of the mean squared (dVirial/n).")


class LinearSpec(Settings):
    """The linear term, solved in closed form."""

    ridge: float = Field(1e-4, gt=0, description="Ridge parameter lambda on scaled descriptors.")
    components: int = Field(
        12,
        ge=0,
        description="Principal components of the descriptors whose products it uses beside the "
        "descriptors themselves, where that lowers a held-out error; 0: descriptors only.",
    )


class NetworkSpec(Settings):
    """Per-element networks on what the linear term leaves, and their training."""

    enabled: bool = Field(default=True, description="Whether networks are trained at all.")
    hidden: tuple[int, ...] = Field((24, 24), description="Units per hidden layer (tanh).")
    min_labels: int = Field(
        24, ge=8, description="Train networks from this number of labels on; below, linear only."
    )
    held_out: float = Field(0.2, gt=0, lt=0.5, description="Share of labels for early stopping.")
    steps: int = Field(300, ge=1, description="Largest number of full-batch optimiser steps.")
    patience: int = Field(60, ge=1, description="Stop after this many steps without a better fit.")
    learning_rate: float = Field(0.005, gt=0, description="Learning rate of Adam at the start.")
    learning_rate_end: float = Field(0.0005, gt=0, description="Learning rate at the last step.")
    weight_penalty: float = Field(1e-3, ge=0, description="Factor of the sum of squared weights.")
    focal_gamma: float = Field(
        0.5, ge=0, description="Exponent of the focal weight; 0 switches it off."
    )
    prefactor_start: LossWeights = Field(
        LossWeights(energy=0.2, forces=0.5, virial=0.2),
        description="Loss weights at the start; they go to `loss` as the learning rate falls.",
    )


class EnsembleSpec(Settings):
    """An ensemble of potentials: E_i = reference + wall + linear term + network."""

    descriptor: SerializeAsAny[Descriptor] = Field(
        default_factory=lambda: build({"kind": "moments"}), description="What the atoms see."
    )
    members: int = Field(
        4, ge=1, description="Number of members, K; the spread of a single one is not known."
    )
    bootstrap: Literal["poisson", "none"] = Field(
        "poisson", description="Resampling of the labels by member."
    )
    labels: LabelWeights = Field(LabelWeights(), description="Weights of labels.")
    loss: LossWeights = Field(LossWeights(), description="Weights of energy, forces and virial.")
    linear: LinearSpec = Field(LinearSpec(), description="The linear term.")
    network: NetworkSpec = Field(NetworkSpec(), description="The networks.")

    @field_validator("descriptor", mode="before")
    @classmethod
    def _by_kind(cls, value: object) -> object:
        return build(value) if isinstance(value, dict) else value
