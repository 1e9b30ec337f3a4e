"""The settings of an ensemble: what is fitted and how. Plain models, no torch."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from potentials.descriptors import Descriptor, build


class Settings(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelWeights(Settings):
    """How much one label counts: w = [exp(-(E - Emin)/s) + floor] / [1 + (Fmax/f)^2]."""

    energy_scale_ev_per_atom: float | None = Field(
        0.3,
        gt=0,
        description="Scale s: labels this far above the lowest count 1/e [eV/atom]; "
        "null: all count alike.",
    )
    floor: float = Field(0.01, ge=0, description="Weight left to labels far above the lowest.")
    force_scale_ev_per_a: float | None = Field(
        3.0,
        gt=0,
        description="Scale f: labels with this largest force count half [eV/Å]; null: all alike.",
    )


class LossWeights(Settings):
    """Relative weight of the three parts of the loss (eV, Å; stress as virial per atom)."""

    energy: float = Field(1.0, ge=0, description="Weight of (dE/n)^2.")
    forces: float = Field(0.1, ge=0, description="Weight of the mean squared force error.")
    virial: float = Field(0.1, ge=0, description="Weight of the mean squared (dVirial/n).")


class LinearSpec(Settings):
    """The linear term, solved in closed form."""

    enabled: bool = Field(default=True, description="Whether there is a linear term at all.")
    ridge: float = Field(
        1e-3,
        gt=0,
        description="Ridge parameter lambda on scaled descriptors; held-out errors choose between "
        "it and its multiples by powers of ten.",
    )
    components: int = Field(
        64,
        ge=0,
        description="Most principal components of the descriptors whose products it uses beside "
        "the descriptors themselves; held-out errors say how many; 0: descriptors only.",
    )


Optimiser = Literal[
    "adam", "adamw", "adamax", "rmsprop", "rprop", "asgd", "adadelta", "sgd", "lbfgs"
]


class NetworkSpec(Settings):
    """Per-element networks on what the linear term leaves, and their training."""

    enabled: bool = Field(default=True, description="Whether networks are trained at all.")
    hidden: tuple[int, ...] = Field((30, 30), description="Units per hidden layer (tanh).")
    min_labels: int = Field(
        100, ge=8, description="Train networks from this number of labels on; below, linear only."
    )
    held_out: float = Field(0.2, gt=0, lt=0.5, description="Share of labels for early stopping.")
    optimiser: Optimiser = Field("adam", description="Optimiser, by name.")
    batch: int | None = Field(
        32, ge=1, description="Structures per step; null: all at once (rprop, lbfgs need that)."
    )
    epochs: int = Field(200, ge=1, description="Largest number of passes over the labels.")
    steps: int = Field(
        15000, ge=1, description="Largest number of optimiser steps, whatever the number of epochs."
    )
    patience: int = Field(60, ge=1, description="Stop after this many epochs without a gain.")
    learning_rate: float = Field(0.01, gt=0, description="Learning rate at the start.")
    learning_rate_end: float = Field(0.0003, gt=0, description="Learning rate at the last step.")
    weight_penalty: float = Field(1e-5, ge=0, description="Factor of the sum of squared weights.")
    focal_gamma: float = Field(
        0.0,
        ge=0,
        description="Exponent of the focal weight of labels when networks are trained again; 0 "
        "switches it off, which no exponent was better than (docs/potentials.md).",
    )
    replay: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of every epoch that new labels make up when networks are trained again "
        "on more labels, each at most ten times; 0: no more than they are. With batch: null all "
        "labels are looked at alike.",
    )
    gdf: bool = Field(
        default=False, description="Weigh forces on atoms in rare surroundings up (GDF)."
    )
    prefactor_start: LossWeights = Field(
        LossWeights(energy=0.2, forces=0.5, virial=0.2),
        description="Loss weights at the start; they go to `loss` as the learning rate falls.",
    )
    precision: Literal["float32", "float64"] = Field("float32", description="Of the training.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where networks are trained; auto: on a GPU where there is one."
    )

    @model_validator(mode="after")
    def _whole_batch(self) -> Self:
        if self.optimiser in ("rprop", "lbfgs") and self.batch is not None:
            raise ValueError(
                f"optimiser {self.optimiser} follows the sign or curvature of the whole loss and "
                f"cannot work on batches of {self.batch}; set batch: null"
            )
        return self


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
    wall: bool = Field(default=True, description="Repulsion below the shortest labelled distance.")

    @field_validator("descriptor", mode="before")
    @classmethod
    def _by_kind(cls, value: object) -> object:
        return build(value) if isinstance(value, dict) else value
