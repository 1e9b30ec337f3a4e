"""Distinct structures: which labels are of the same one."""

from collections.abc import Sequence
from dataclasses import dataclass

from aga.search.candidate import Known
from aga.search.similarity import same_form

#: a member confirms its structure when it lies at most this far above the lowest one [eV/atom]
TIE = 0.002


@dataclass(eq=False, slots=True)
class Group:
    """Labels of one distinct structure; the lowest represents it."""

    id: str
    members: list[Known]

    @property
    def best(self) -> Known:
        """The member of lowest enthalpy."""
        return min(self.members, key=lambda one: (one.enthalpy, one.id))

    def confirmed(self, fmax: float, stress: float) -> Known | None:
        """The lowest member that the engine itself finds relaxed, if it is as low as the best.

        Args:
            fmax: largest force [eV/Å].
            stress: largest deviation from the pressure [eV/Å^3].
        """
        limit = self.best.enthalpy + TIE
        relaxed = [m for m in self.members if m.at_minimum(fmax, stress) and m.enthalpy <= limit]
        return min(relaxed, key=lambda one: (one.enthalpy, one.id), default=None)


def ranked(groups: Sequence[Group]) -> list[Group]:
    """Lowest above their ground first."""
    return sorted(groups, key=lambda group: (group.best.height, group.id))


def home_of(groups: Sequence[Group], known: Known) -> str:
    """Id of the lowest group whose structure this is; its own id where there is none."""
    like = (
        group
        for group in ranked(groups)
        if known.formula == group.best.formula and same_form(known.atoms, group.best.atoms)
    )
    home = next(like, None)
    return known.id if home is None else home.id


def put(groups: list[Group], home: str, known: Known) -> None:
    """Add a label to the group of this id, which is made if it is not there."""
    group = next((group for group in groups if group.id == home), None)
    if group is None:
        groups.append(Group(home, [known]))
    else:
        group.members.append(known)
