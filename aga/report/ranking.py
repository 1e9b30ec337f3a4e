"""The ranked structures of a campaign as rows: what every table, plot and export starts from."""

from dataclasses import dataclass

from ase import Atoms
from ase.units import GPa

from aga.campaign.progress import SYMPREC
from aga.campaign.state import State
from aga.search.compositions import named, reduced
from aga.search.symmetry import spacegroup
from calculators.engines import Engine

#: what each column holds
COLUMNS = (
    "rank",
    "formula",
    "space group",
    "enthalpy [eV/atom]",
    "above best [meV/atom]",
    "max force [eV/Å]",
    "stress deviation [GPa]",
    "confirmed",
    "labels",
    "id",
)


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One distinct structure.

    Attributes:
        rank: 1 for the lowest enthalpy; of several compositions, for the nearest to the hull.
        id: of the label that represents it: the confirmed one, else the lowest.
        formula: of the searched cell.
        spacegroup: symbol and number; of a cluster its point group.
        enthalpy: (E + pV)/n by the engine [eV/atom].
        above: enthalpy above the first row, or above the hull [eV/atom].
        fmax: largest force [eV/Å].
        stress_gpa: largest deviation of the stress from the pressure [GPa]; None if the engine's
            stress is not converged.
        confirmed: whether the engine itself finds it relaxed.
        labels: single points spent on it.
        origin: the operator that made it.
        atoms: geometry.
    """

    rank: int
    id: str
    formula: str
    spacegroup: str
    enthalpy: float
    above: float
    fmax: float
    stress_gpa: float | None
    confirmed: bool
    labels: int
    origin: str
    atoms: Atoms

    def cells(self) -> list[str]:
        """Text for `COLUMNS`."""
        stress = "-" if self.stress_gpa is None else f"{self.stress_gpa:.2f}"
        return [
            str(self.rank),
            self.formula,
            self.spacegroup,
            f"{self.enthalpy:.4f}",
            f"{1e3 * self.above:.1f}",
            f"{self.fmax:.3f}",
            stress,
            "yes" if self.confirmed else "no",
            str(self.labels),
            self.id,
        ]


def rows(state: State, limit: int | None = None) -> list[Row]:
    """The distinct structures, lowest enthalpy or nearest to the hull first.

    Args:
        state: the campaign.
        limit: the lowest so many only; each costs the search of a space group.
    """
    origins = {one.known.id: one.origin for one in state.labelled}
    found = [(state.confirmed(group), group) for group in state.ranking]
    # a confirmed label may lie a little above the lowest one of its structure
    shown = sorted(
        ((confirmed or group.best, confirmed is not None, group) for confirmed, group in found),
        key=lambda one: (one[0].height, one[0].id),
    )
    lowest = shown[0][0].height if shown and state.hull is None else 0.0
    return [
        Row(
            rank=rank,
            id=known.id,
            formula=formula(known.atoms),
            spacegroup=spacegroup(known.atoms, SYMPREC),
            enthalpy=float(known.enthalpy),
            above=float(known.height - lowest),
            fmax=float(known.fmax),
            stress_gpa=None if known.stress_error is None else float(known.stress_error / GPa),
            confirmed=confirmed,
            labels=len(group.members),
            origin=origins[known.id],
            atoms=known.atoms,
        )
        for rank, (known, confirmed, group) in enumerate(shown[:limit], 1)
    ]


def formula(atoms: Atoms) -> str:
    """Formula of the cell, metals first, e.g. "Ti4O8"."""
    return str(atoms.get_chemical_formula("metal"))


def method(engine: Engine) -> str:
    """The engine in a few words; only what is DFT is called so."""
    name = engine.description().split(" (")[0].split(" {")[0]
    if all(part.isidentifier() for part in name.split(".")):
        name = name.rpartition(".")[2]  # of a calculator's import path the class
    return f"{name} (surrogate)" if engine.surrogate else "DFT"


def thresholds(state: State) -> str:
    """What confirmed means in this campaign, in one sentence."""
    limits, engine = state.config.confirm, state.config.engine
    stress = f" and the stress within {limits.stress_gpa:g} GPa of the pressure"
    if state.config.dimension == "cluster":
        stress = ""
    return (
        f"confirmed: every force below {limits.fmax_ev_per_a:g} eV/Å{stress}, by "
        f"{engine.description()}"
    )


def columns(state: State) -> list[str]:
    """Headings of a table, with who confirmed."""
    told = {"confirmed": f"confirmed by {method(state.config.engine)}"}
    if state.config.compositions is not None:
        told["above best [meV/atom]"] = "above hull [meV/atom]"
    if state.config.dimension == "cluster":
        told |= {"space group": "point group", "enthalpy [eV/atom]": "energy [eV/atom]"}
    return [told.get(name, name) for name in COLUMNS]


def hull(state: State) -> str:
    """The structures on the hull in one sentence; empty where one composition is searched."""
    if state.hull is None:
        return ""
    found = [(one.best.formula, state.confirmed(one) is not None) for one in state.answer]
    names = [f"{name}{'' if sure else ' (not confirmed)'}" for name, sure in sorted(found)]
    given = state.config.compositions.phases if state.config.compositions else ()
    names += [
        f"{named(reduced(phase.counts))} (reference)"
        for phase in state.hull.stable
        if phase in given
    ]
    return "on the hull: " + ", ".join(names)
