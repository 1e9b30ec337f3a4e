"""Symmetry functions of ``input.nn`` in the order in which n2p2 and RuNNer number them.

    symfunction_short <el> 2 <n> eta rs rc
    symfunction_short <el> 3|9 <n1> <n2> eta lambda zeta rc [rs]

Inputs of networks and lines of ``scaling.data`` are numbered after sorting by type, cutoff, eta,
shift, zeta, lambda and neighbours (by atomic number), whatever the order in the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potentials.acsf_parameters import Angular, Radial
from potentials.formats.lines import FormatError, Line, atomic_number

if TYPE_CHECKING:
    from potentials.descriptors.acsf import Acsf

#: cutoff functions by RuNNer's number
ENVELOPES = {
    0: "hard",
    1: "cos",
    2: "tanh3",
    3: "tanh3_unit",
    4: "exp",
    5: "poly1",
    6: "poly2",
    7: "poly3",
    8: "poly4",
}
#: cutoff functions that have no inner radius
WHOLE = ("hard", "tanh3", "tanh3_unit")
_KINDS = {3: "narrow", 9: "wide"}
_RADIAL = "symfunction_short element 2 neighbour eta rs rc"
_ANGULAR = "symfunction_short element 3|9 neighbour neighbour eta lambda zeta rc [rs]"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One function in Å; compares as n2p2 sorts. ``place`` is where it stood before."""

    kind: int
    cutoff: float
    eta: float
    shift: float
    zeta: float
    lam: float
    partners: tuple[int, ...]
    place: int

    def function(self, centre: int) -> Radial | Angular:
        """As settings of the descriptor."""
        from ase.data import chemical_symbols

        names = [chemical_symbols[number] for number in self.partners]
        common = {
            "eta": self.eta,
            "shift": self.shift,
            "cutoff": self.cutoff,
            "centre": chemical_symbols[centre],
        }
        if self.kind == 2:
            return Radial.model_validate(common | {"neighbour": names[0]})
        more = {"kind": _KINDS[self.kind], "zeta": self.zeta, "lam": self.lam, "neighbours": names}
        return Angular.model_validate(common | more)

    def text(self, centre: str, length: float) -> str:
        """A line of ``input.nn`` in units of ``length`` [Å]."""
        from ase.data import chemical_symbols

        names = " ".join(chemical_symbols[number] for number in self.partners)
        start = f"symfunction_short {centre} {self.kind} {names} {self.eta * length**2!r}"
        rc, shift = self.cutoff / length, self.shift / length
        if self.kind == 2:
            return f"{start} {shift!r} {rc!r}"
        return f"{start} {self.lam!r} {self.zeta!r} {rc!r}" + (f" {shift!r}" if shift else "")


def entry_of(line: Line, place: int, length: float) -> tuple[int, Entry]:
    """Central element (atomic number) and function of a line ``symfunction_short``.

    Raises:
        FormatError: numbers are missing, or the type is none of 2, 3 and 9.
    """
    kind = line.integer(2, "symfunction_short element type ...")
    if kind not in (2, 3, 9):
        raise line.error("a function of type 2, 3 or 9 (weighted and compact ones are not read)")
    n_partners = 1 if kind == 2 else 2
    words = line.words[3 : 3 + n_partners]
    if len(words) < n_partners:
        raise line.error(_RADIAL if kind == 2 else _ANGULAR)
    partners = tuple(sorted(atomic_number(word, line) for word in words))
    centre = atomic_number(line.words[1], line)
    if kind == 2:
        eta, shift, cutoff = line.numbers(4, 3, _RADIAL)
        zeta = lam = 0.0
    else:
        eta, lam, zeta, cutoff = line.numbers(5, 4, _ANGULAR)
        shift = line.number_at(9, _ANGULAR) if len(line.words) > 9 else 0.0
    if eta < 0 or cutoff <= 0 or (kind != 2 and zeta < 1):
        raise line.error("eta >= 0, rc > 0 and zeta >= 1")
    entry = Entry(
        kind=kind,
        cutoff=float(cutoff) * length,
        eta=float(eta) / length**2,
        shift=float(shift) * length,
        zeta=float(zeta),
        lam=float(lam),
        partners=partners,
        place=place,
    )
    return centre, entry


def descriptor_of(
    elements: Sequence[int],
    entries: dict[int, list[Entry]],
    envelope: int,
    inner: float,
) -> "Acsf":
    """The descriptor of sorted functions by central element."""
    from ase.data import chemical_symbols

    from potentials.descriptors.acsf import Acsf

    name = ENVELOPES[envelope]
    return Acsf.model_validate(
        {
            "cutoff": max(e.cutoff for own in entries.values() for e in own),
            "functions": tuple(e.function(z) for z in elements for e in entries[z]),
            "elements": tuple(chemical_symbols[z] for z in elements),
            "envelope": name,
            "inner": 0.0 if name in WHOLE else inner,
        }
    )


def entries_of(descriptor: "Acsf", elements: Sequence[int]) -> list[list[Entry]]:
    """The sorted functions of every element, in the order of ``elements`` (atomic numbers).

    Raises:
        FormatError: the cutoff function has an inner radius that RuNNer's has not.
    """
    if descriptor.inner and descriptor.envelope in WHOLE:
        raise FormatError(
            f"cutoff function {descriptor.envelope!r} with inner {descriptor.inner}: RuNNer knows "
            "none with an inner radius; train with inner: 0"
        )
    made = []
    for own in descriptor.components(len(elements)):
        entries = []
        for place, (function, partners) in enumerate(own):
            zeta, lam = 0.0, 0.0
            if isinstance(function, Angular):
                zeta, lam = function.zeta, function.lam
            entries.append(
                Entry(
                    kind={"radial": 2, "narrow": 3, "wide": 9}[function.kind],
                    cutoff=function.cutoff or descriptor.cutoff,
                    eta=function.eta,
                    shift=function.shift,
                    zeta=zeta,
                    lam=lam,
                    partners=tuple(sorted(elements[index] for index in partners)),
                    place=place,
                )
            )
        made.append(sorted(entries))
    return made
