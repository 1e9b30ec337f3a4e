"""The sizes and windows of the inner genetic algorithm; light to import."""

from pydantic import BaseModel, ConfigDict, Field

#: structures that are relaxed, and kept, for every label of a large batch
PER_LABEL = 2
#: compositions that a search is large enough for
COMPOSITIONS = 30


def breadth(compositions: int) -> float:
    """How many times as much must be tried where so many compositions are searched."""
    return max(1.0, compositions / COMPOSITIONS)


class EvolutionSettings(BaseModel):
    """How one call of `evolution.evolve` searches.

    Relaxed in one call: ``candidates`` new structures spread evenly over the generations, and in
    the first generation also the carried and the relabelled ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: int = Field(
        60,
        ge=1,
        description="New structures relaxed per call; more in proportion where more than 30 "
        "compositions are searched, like what is kept; of both at least two for every label of a "
        "batch.",
    )
    thorough: int = Field(
        4,
        ge=1,
        description="Times as many candidates once the best has stopped changing.",
    )
    fresh_share: float = Field(
        0.5, ge=0, le=1, description="Share of random crystals in every generation."
    )
    generations: int = Field(2, ge=1, description="Generations per call.")
    keep: int = Field(60, ge=1, description="Most structures that survive a generation.")
    tournament: int = Field(3, ge=1, description="Candidates that compete to be a parent.")
    archive_parents: int = Field(
        8, ge=0, description="Most labelled structures used as parents and relaxed again."
    )
    archive_window_ev_per_atom: float = Field(
        0.3, gt=0, description="Only labelled structures this near the best [eV/atom]."
    )
    carried: int = Field(25, ge=0, description="Most structures taken over from the last call.")
    max_force_ev_per_a: float = Field(
        1.0, gt=0, description="A relaxed structure with larger forces is rejected [eV/Å]."
    )
    spread_cap_ev_per_atom: float = Field(
        0.5, gt=0, description="A structure with a larger spread becomes no parent [eV/atom]."
    )
    parent_symprec_a: float = Field(
        0.1, ge=0, description="Tolerance of restoring the symmetry of parents [Å]; 0: as they are."
    )

    def times(self, effort: float, compositions: int = 1, labels: int = 0) -> "EvolutionSettings":
        """The same search with ``effort`` times as many candidates, or more for many compositions.

        For many ``labels`` at a time there must be enough to choose from.

        Of Cu-Au with up to 12 atoms there are 66 cells: 60 candidates per call are one of each, and
        of 60 survivors few had a relative of their own cell.
        """
        least, offered = breadth(compositions), PER_LABEL * labels
        sizes = {
            "candidates": max(offered, round(max(effort, least) * self.candidates)),
            "keep": max(offered, round(least * self.keep)),
        }
        return self.model_copy(update=sizes)
