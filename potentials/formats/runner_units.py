"""Units of RuNNer's and n2p2's files, which do not name them."""

from dataclasses import dataclass

from potentials.acsf_parameters import BOHR
from potentials.formats.lines import FormatError
from potentials.roles import unknown

#: one hartree [eV], CODATA 2014 as in ASE
HARTREE = 27.211386024367243


@dataclass(frozen=True, slots=True)
class Units:
    """What one unit of a file is worth: length [Å], energy [eV]."""

    length: float
    energy: float


UNITS = {
    "bohr-hartree": Units(BOHR, HARTREE),
    "angstrom-ev": Units(1.0, 1.0),
    "bohr-ev": Units(BOHR, 1.0),
    "angstrom-hartree": Units(1.0, HARTREE),
}


def units_named(name: str) -> Units:
    """Units by name.

    Raises:
        FormatError: the name is unknown.
    """
    if name not in UNITS:
        raise FormatError(unknown("pair of units", name, UNITS))
    return UNITS[name]
