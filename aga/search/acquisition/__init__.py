"""Role Acquisition: which candidates are worth a label. One file per kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from aga.search.archive import Archive
from aga.search.candidate import MINIMUM_FMAX, MINIMUM_STRESS, RELABEL, Candidate, Known
from aga.search.hull import ON_HULL
from aga.search.novelty import Novelty
from aga.search.similarity import distance, near, same_form
from potentials import roles

#: kind of the rule that a campaign uses
DEFAULT = "lower_confidence_bound"

# a geometry this close to a labelled one would get the same label (0.0005 Å off at most)
_SAME_GEOMETRY = 1e-6
# what is predicted below the best by more than this and by some spreads is news, even of a
# structure that is labelled and relaxed: forces of 0.04 eV/Å left CuAu 1.1 meV above its minimum,
# and the search of a hull ended there; a copy of Pmma Cu8Au8 with such forces lay 6 meV above it,
# and hid it [eV/atom]
_NEWS = 0.0005
_NEWS_SPREADS = 4.0
# a copy of a label that is not among the best has more to tell: how the two stand to each other
_OVERTAKING_SPREADS = 1.0
# a candidate that does not reach below the best by as little as this within so many spreads has
# nothing to tell, however often the operators vary it [eV/atom]
_GAIN = 0.001
_REACH = 3.0
# among several compositions a structure this many spreads above the hull is known not to be on it
_SURE = 2.0
# and one this high is not thought to be, however large its spread [eV/atom]
_HOPELESS = 0.1


class Acquisition(BaseModel, ABC):
    """A rule that orders candidates; what may be chosen at all is the same for every rule.

    Never chosen: a spread above the cap (the potential knows nothing there; with only such
    candidates nothing is chosen), an enthalpy beyond the window, a copy of what is labelled,
    waiting or chosen already. A label for novelty may go to what is placed below all labels,
    whatever its spread. Two more exceptions let the search reach the minimum of a structure that
    was labelled before it was relaxed (force above 0.05 eV/Å or stress off by more than 1 GPa):

    - it does not block a copy predicted clearly (``twin_ev_per_atom``) below its own label;
    - one at a time, the *best* labelled structure does not block a copy predicted no higher than
      ``twin_ev_per_atom`` above it, nor itself relaxed on the potential.

    Nor does any label, relaxed or not, block a copy predicted clearly below the best, or the hull,
    and no more than ``twin_ev_per_atom`` below the label itself.

    Enthalpies are compared above the ground of each composition (see `Candidate`); on a convex hull
    every labelled structure of it is the best.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    window_ev_per_atom: float = Field(
        0.4, gt=0, description="Only candidates this near the lowest enthalpy known [eV/atom]."
    )
    spread_cap_ev_per_atom: float = Field(
        0.5, gt=0, description="Largest spread of the ensemble that is trusted [eV/atom]."
    )
    twin_ev_per_atom: float = Field(
        0.01, ge=0, description="Margin of the two exceptions for unrelaxed labels [eV/atom]."
    )

    explore: float = Field(
        0.34,
        ge=0,
        le=1,
        description="Share of the labels given to the candidate least like anything labelled.",
    )

    exploit: float = Field(
        0.34,
        ge=0,
        le=1,
        description="Share of the labels given to what is surely low: mean plus spread.",
    )

    @abstractmethod
    def score(self, enthalpy: float, spread: float) -> float:
        """How late a candidate comes; lower is labelled sooner.

        Args:
            enthalpy: predicted, above the ground of its composition [eV/atom].
            spread: its calibrated standard deviation [eV/atom].
        """

    def choose(
        self,
        candidates: Sequence[Candidate],
        known: Sequence[Known],
        pending: Sequence[Candidate],
        n: int,
    ) -> list[Candidate]:
        """Up to ``n`` distinct candidates to label, the most wanted first.

        The result does not depend on the order of any argument.

        Args:
            candidates: relaxed candidates; those without a prediction are passed over.
            known: labelled structures.
            pending: candidates being labelled now.
            n: free places.
        """
        archive = Archive.of(known)
        lowest = min((one.height for one in archive), default=inf)
        blocks = _Blocks(archive, pending, self.twin_ev_per_atom, lowest)
        ranked = self._ordered(candidates, lowest)
        unknown = self.unknown(candidates, lowest) if ranked else []
        asked = [*pending]
        novelty: Novelty | None = None
        chosen: list[Candidate] = []
        while len(chosen) < n:
            place, candidate = len(archive) + len(asked), None
            if not self._explores(place):
                queue = [one for one in ranked if blocks.may_be_lower(one)]
                if self._exploits(place):
                    queue.sort(key=lambda one: (not blocks.descends(one), _surely(one)))
                candidate = blocks.first_free(queue)
            if candidate is None:
                anybody = [*ranked, *unknown]
                novelty = novelty or _novelty(anybody, archive, asked)
                # of compositions that nobody has labelled the most wanted comes first
                candidate = blocks.first_free(sorted(anybody, key=novelty.lateness))
            if candidate is None:
                break
            blocks.take(candidate)
            asked.append(candidate)
            chosen.append(candidate)
            ranked = [one for one in ranked if one is not candidate]
            unknown = [one for one in unknown if one is not candidate]
            if novelty is not None:
                novelty.take(candidate)
        return chosen

    def _explores(self, asked: int) -> bool:
        """Whether the label after ``asked`` others is one for novelty.

        A potential that has only seen one kind of bonding can place another far too high and be
        sure of it: among close-packed silicon, diamond is predicted 0.3 eV/atom too high with a
        spread of 0.05. No rule that asks the potential would ever look.
        """
        return int((asked + 1) * self.explore) > int(asked * self.explore)

    def _exploits(self, asked: int) -> bool:
        """Whether the label after ``asked`` others is for what is surely low; in turn with novelty.

        Spreads are largest where little is known, so that a rule that allows for them puts off what
        it is sure of, such as the minimum of a good structure that was labelled before it was
        relaxed (Cu8Au8, 10 seeds: 24 labels to the ground state instead of 28). The minimum of the
        best comes first of all.
        """
        shifted = (asked + 1) * self.exploit + self.explore, asked * self.exploit + self.explore
        return int(shifted[0]) > int(shifted[1])

    def _ordered(self, candidates: Sequence[Candidate], known: float) -> list[Candidate]:
        """Those that may be chosen, best first; ties by id.

        Args:
            candidates: offered.
            known: height of the lowest label [eV/atom]; infinite without labels.
        """
        trusted = [
            (candidate.height, candidate.spread, candidate)
            for candidate in candidates
            if candidate.enthalpy is not None
            and candidate.spread is not None
            and candidate.spread <= self.spread_cap_ev_per_atom
        ]
        lowest = min([known, *(height for height, _, _ in trusted)])
        scored = [
            (self.score(height, spread), candidate.id, candidate)
            for height, spread, candidate in trusted
            if height <= lowest + self.window_ev_per_atom
        ]
        return [candidate for _, _, candidate in sorted(scored, key=lambda row: row[:2])]

    def unknown(self, candidates: Sequence[Candidate], known: float) -> list[Candidate]:
        """Those placed below all labels that are not trusted.

        Of carbon at 50 GPa nine labels in a row went to geometries of one form, the only one that
        was trusted, while 40 candidates were placed 2 eV/atom below it; the first two of these that
        were labelled lay 0.5 and 2 eV/atom below.

        Args:
            candidates: offered.
            known: height of the lowest label [eV/atom]; infinite without labels.
        """
        return [
            one
            for one in candidates
            if one.spread is not None
            and one.spread > self.spread_cap_ev_per_atom
            and one.height < known - _GAIN < inf
        ]


def _novelty(
    candidates: Sequence[Candidate], archive: Archive, asked: Sequence[Candidate]
) -> Novelty:
    """How far those that are worth a look are from all that is labelled or asked for."""
    hopeful = _may_be_stable if archive.several else _anything
    return Novelty([one for one in candidates if hopeful(one)], archive, asked)


def _is_news(one: Candidate, label: Known, lowest: float) -> bool:
    """Whether a copy of a label is predicted clearly below all that is labelled."""
    spreads = _NEWS_SPREADS if label.height <= lowest + _NEWS else _OVERTAKING_SPREADS
    return one.height < lowest - max(_NEWS, spreads * (one.spread or 0.0))


def _surely(one: Candidate) -> float:
    """How low a candidate surely is: mean plus spread [eV/atom]."""
    return one.height + (one.spread or 0.0)


def _anything(one: Candidate) -> bool:
    """Of one composition whatever is new may be the answer."""
    return True


def _may_be_stable(one: Candidate) -> bool:
    """Whether a label may change the hull, as far as the ensemble knows.

    Novelty alone asks for a label of every ratio of the elements: of Cu-Au with up to 12 atoms 45,
    most of them far above the hull and predicted so; and what is least like anything has a large
    spread and lies hundreds of meV above.
    """
    return one.spread is not None and one.height <= min(_SURE * one.spread, _HOPELESS)


class _Blocks:
    """What stands in the way of a candidate."""

    def __init__(
        self, known: Archive, pending: Sequence[Candidate], margin: float, lowest: float
    ) -> None:
        self._known = known
        self._taken = sorted(pending, key=lambda one: one.id)
        self._margin = margin
        self._best = _best(self._known, lowest)
        self._lowest = lowest
        # a twin that is being labelled is the one allowed
        self._barred: set[str] = set()
        self._twins_used = {one.formula for one in self._taken if self._near_best(one)}

    def first_free(self, queue: Sequence[Candidate]) -> Candidate | None:
        """The first that nothing stands in the way of; what is blocked once stays so."""
        for one in queue:
            if one.id not in self._barred and self.free(one):
                return one
            self._barred.add(one.id)
        return None

    def free(self, candidate: Candidate) -> bool:
        """Whether nothing labelled, pending or taken is the same structure."""
        if any(_near(candidate, other) for other in self._taken):
            return False
        blocking = [one for one in self._near_labels(candidate) if self._blocks(one, candidate)]
        if not blocking:
            return True
        if candidate.formula in self._twins_used or any(_finished(one) for one in blocking):
            return False
        if self._is_twin(candidate):
            self._twins_used.add(candidate.formula)
            return True
        return False

    def may_be_lower(self, candidate: Candidate) -> bool:
        """Whether the ensemble cannot exclude that ``candidate`` is the new best.

        Layers of TiO2 can be stacked and spaced in endless ways within 1 meV/atom of each other,
        known to be so after a few labels: forty in a row went to them.
        """
        if self.descends(candidate):
            return True
        return candidate.height - _REACH * (candidate.spread or 0.0) < self._lowest - _GAIN

    def descends(self, candidate: Candidate) -> bool:
        """Whether it is the best label on its way to its minimum: lower, whatever is predicted.

        A fit may leave a structure that is new to it 0.05 eV/atom too high, label and minimum
        alike: anatase, labelled unrelaxed and the best by 14 meV/atom, waited ten labels for its
        minimum.
        """
        best = self._best.get(candidate.formula)
        return best is not None and not _finished(best) and _descends(candidate, best)

    def take(self, candidate: Candidate) -> None:
        """Block copies of ``candidate`` from now on."""
        self._taken.append(candidate)

    def _near_labels(self, candidate: Candidate) -> list[Known]:
        return [one for one in self._known.within(candidate) if _near(candidate, one)]

    def _blocks(self, one: Known, candidate: Candidate) -> bool:
        if _same_geometry(one, candidate):
            return True
        lower = candidate.height < one.height - self._margin
        if not _finished(one) and lower:
            return False
        # what is said to lie much lower than its own finished label is an error of the potential
        return lower or not _is_news(candidate, one, self._lowest)

    def _near_best(self, candidate: Candidate) -> bool:
        best = self._best.get(candidate.formula)
        return best is not None and same_form(candidate.atoms, best.atoms)

    def _is_twin(self, candidate: Candidate) -> bool:
        """Whether ``candidate`` may lead the best labelled structure to its minimum."""
        best = self._best.get(candidate.formula)
        return (
            best is not None
            and not _finished(best)
            and not self._known.within(candidate, _SAME_GEOMETRY)
            and (_descends(candidate, best) or candidate.height <= best.height + self._margin)
            and self._near_best(candidate)
        )


def _best(known: Sequence[Known], lowest: float) -> dict[str, Known]:
    """The lowest label by formula: of each composition on the hull, or the only one."""
    limit = lowest + ON_HULL
    found: dict[str, Known] = {}
    for one in sorted(
        (one for one in known if one.height <= limit), key=lambda one: (one.height, one.id)
    ):
        found.setdefault(one.formula, one)
    return found


def _near(one: Candidate, other: Candidate | Known) -> bool:
    """Whether two crystals are nearly the same."""
    return one.formula == other.formula and near(
        one.atoms, one.fingerprint, other.atoms, other.fingerprint
    )


def _descends(candidate: Candidate, best: Known) -> bool:
    """Whether it is the best itself, relaxed on the potential.

    It may be predicted above its own label, where the potential is off by a constant there.
    """
    return candidate.origin == RELABEL and candidate.parents == (best.id,)


def _finished(one: Known) -> bool:
    return one.at_minimum(MINIMUM_FMAX, MINIMUM_STRESS)


def _same_geometry(one: Known, candidate: Candidate) -> bool:
    return (
        one.formula == candidate.formula
        and distance(one.fingerprint, candidate.fingerprint) < _SAME_GEOMETRY
    )


def kinds() -> dict[str, type[Acquisition]]:
    """Every kind of rule by name."""
    return roles.kinds(__name__, Acquisition, "aga.acquisition")


def build(data: Mapping[str, Any]) -> Acquisition:
    """The rule that ``data`` describes; the default one where it names no kind.

    Raises:
        ValueError: the kind is unknown or a field is wrong.
    """
    made: Acquisition = roles.build({"kind": DEFAULT, **data}, kinds(), "acquisition")
    return made
