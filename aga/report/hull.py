"""The picture of the convex hull of a campaign."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aga.campaign.spaces import hull_of
from aga.campaign.state import Labelled, State
from aga.report import drawing
from aga.report.drawing import BLUE, GREY, ORANGE
from aga.search.candidate import Known
from aga.search.compositions import Counts, named, reduced
from aga.search.hull import Hull, Phase, extremes

FloatArray = NDArray[np.float64]

#: structures that lie higher above the hull are left out [eV/atom]
HIGHEST = 0.3
#: the same in a triangle, where each is named
NEAR = 0.02


def picture(state: State) -> Any:
    """Enthalpy of formation over composition between two end members, or a triangle of three.

    None without a hull, for one composition, and for more end members than a plane can hold.
    """
    hull = hull_of(state.config, state.known)
    if hull is None:
        return None
    ends = [hull.phases[place].counts for place in _ends(hull)]
    if len(ends) == 2:
        return _line(state, hull, (ends[0], ends[1]))
    return _triangle(hull) if len(ends) == 3 else None


def distances(state: State) -> FloatArray:
    """How far the hull after each label lay above the hull as it is now, at most [eV/atom] (n,).

    Not a number until all end members were labelled.
    """
    final = [(group.best.counts, group.best.enthalpy) for group in state.answer]
    hull: Hull | None = None
    known: list[Known] = []
    found = []
    for one in state.labelled:
        known.append(one.known)
        ground = -np.inf if hull is None else hull.ground(one.known.counts)
        if hull is None or not (np.isfinite(ground) and one.known.enthalpy >= ground):
            hull = hull_of(state.config, known)
        above = [hull.ground(counts) - enthalpy for counts, enthalpy in final] if hull else []
        found.append(max(above) if np.isfinite(above).all() else np.nan)
    return np.array(found)


def _ends(hull: Hull) -> list[int]:
    """Places of the end members, sorted by name."""
    places = extremes([phase.counts for phase in hull.phases])
    return sorted(places, key=lambda place: _name(hull.phases[place].counts))


def _name(counts: Counts) -> str:
    return named(reduced(counts))


class _Axis:
    """The way from one end member to another: 0 to 1 in shares of the atoms."""

    def __init__(self, hull: Hull, ends: tuple[Counts, Counts]) -> None:
        self._elements = hull.elements
        self._start, end = (self._fractions(counts) for counts in ends)
        self._way = end - self._start
        self._grounds = [hull.ground(counts) for counts in ends]

    def _fractions(self, counts: Counts) -> Any:
        numbers = np.array([counts.get(symbol, 0) for symbol in self._elements], dtype=np.float64)
        return numbers / numbers.sum()

    def place(self, counts: Counts, enthalpy: float) -> tuple[float, float]:
        """Composition, and enthalpy of formation from the ends [meV/atom]."""
        share = (self._fractions(counts) - self._start) @ self._way / (self._way @ self._way)
        mixed = (1 - share) * self._grounds[0] + share * self._grounds[1]
        return float(share), 1e3 * (enthalpy - mixed)


def _line(state: State, hull: Hull, ends: tuple[Counts, Counts]) -> Any:
    axis = _Axis(hull, ends)
    made = drawing.figure((7.2, 4.6))
    axes = made.subplots()
    shown = [one for one in state.labelled if one.known.height <= HIGHEST]
    for colour, name, relaxed in ((GREY, "labelled", False), (ORANGE, "relaxed", True)):
        own = [one for one in shown if _relaxed(one, state) is relaxed]
        places = [axis.place(one.known.counts, one.known.enthalpy) for one in own]
        if places:
            axes.scatter(*zip(*places, strict=True), s=22, color=colour, alpha=0.8, label=name)
    stable = sorted((axis.place(p.counts, p.enthalpy), _label(p)) for p in hull.stable)
    corners = [place for place, _ in stable]
    axes.plot(*zip(*corners, strict=True), "o-", color=BLUE, lw=1.6, ms=6, label="hull")
    for place, name in stable:
        note = {"xytext": (0, -14), "textcoords": "offset points", "ha": "center", "color": BLUE}
        axes.annotate(name, place, **note)
    # linear around the hull, which may be a few meV deep, and all else above it
    deep = max(1.0, *(-height for _, height in corners))
    axes.set_yscale("symlog", linthresh=2 * deep)
    axes.set_ylim(-1.6 * deep, 1.2e3 * HIGHEST)
    axes.set_yticks(_ticks(deep))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(-0.04, 1.04)
    axes.set_xlabel(f"share of the atoms in {_name(ends[1])} (left: {_name(ends[0])})")
    axes.set_ylabel("enthalpy of formation [meV/atom]")
    axes.legend(loc="upper right")
    return made


def _ticks(deep: float) -> list[float]:
    """Around the hull, `deep` [meV/atom], round numbers; above it, where it is logarithmic, 1-3."""
    from matplotlib.ticker import MaxNLocator

    near = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(-1.6 * deep, 2 * deep)
    far = [value for power in range(4) for value in (10.0**power, 3 * 10.0**power)]
    inside = [float(value) for value in near if -1.6 * deep <= value <= 2 * deep]
    return inside + [value for value in far if 2.4 * deep < value <= 1e3 * HIGHEST]


def _relaxed(one: Labelled, state: State) -> bool:
    limits = state.config.confirm
    return one.known.fmax <= limits.fmax_ev_per_a


def _label(phase: Phase) -> str:
    return _name(phase.counts)


def _triangle(hull: Hull) -> Any:
    """As pymatgen draws it."""
    from matplotlib import pyplot as plt
    from pymatgen.analysis.phase_diagram import (
        CompoundPhaseDiagram,
        PDEntry,
        PDPlotter,
        PhaseDiagram,
    )
    from pymatgen.core import Composition

    entries = [
        PDEntry(Composition(phase.counts), phase.enthalpy * sum(phase.counts.values()))
        for phase in hull.phases
    ]
    corners = [Composition(hull.phases[place].counts) for place in _ends(hull)]
    compounds = any(len(corner) > 1 for corner in corners)
    diagram = CompoundPhaseDiagram(entries, corners) if compounds else PhaseDiagram(entries)
    axes = PDPlotter(diagram, show_unstable=NEAR, backend="matplotlib").get_plot()
    axes.set_aspect("equal", adjustable="box")  # else a warning about its limits is logged
    made = axes.figure
    plt.close(made)
    return made
