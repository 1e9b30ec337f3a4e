"""First guesses of atomic volumes, from the crystals of the elements."""

from collections.abc import Mapping
from math import pi, sqrt

from ase.data import atomic_numbers, covalent_radii, reference_states

# Elements whose ASE reference state is no simple lattice or no solid [Å^3/atom]. Non-metals carry
# the room they take in compounds (so that NaCl, TiO2, SiO2, MgSiO3, AlF3, Si3N4 and ZnS come out
# within about 15 % of their measured volumes), metals that of the element.
_VOLUMES = {
    "H": 4.0, "He": 13.0, "B": 7.3, "N": 5.0, "O": 8.0, "F": 9.0, "P": 17.0, "S": 20.0,
    "Cl": 29.0, "Mn": 12.2, "Ga": 19.6, "As": 21.5, "Se": 24.0, "Br": 37.0, "In": 26.2,
    "Sn": 27.1, "Sb": 30.2, "Te": 34.0, "I": 50.0, "Hg": 23.4, "Bi": 35.4, "Sm": 33.2,
    "Pa": 25.0, "U": 20.7, "Np": 19.2, "Pu": 20.4, "Po": 36.0,
}  # fmt: skip
# electrons that an atom takes
_ANIONS = {"N": 3, "O": 2, "F": 1, "S": 2, "Cl": 1, "Se": 2, "Br": 1, "Te": 2, "I": 1}
# electrons that an atom gives
_SHRINKING = {"Li": 1, "Na": 1, "K": 1, "Rb": 1, "Cs": 1, "Be": 2, "Mg": 2, "Ca": 2, "Sr": 2,
              "Ba": 2}  # fmt: skip
# alkali and alkaline earth metals lose most of their volume with their valence electrons
_ION_SHARE = 0.35
# volume of one atom in units of a^3; hcp: of a^2 c
_ATOM_SHARE = {"fcc": 1 / 4, "bcc": 1 / 2, "sc": 1.0, "diamond": 1 / 8, "hcp": sqrt(3) / 4}


def element_volume(symbol: str) -> float:
    """Volume of one atom [Å^3] in the crystal of its element, or a substitute for it."""
    if symbol in _VOLUMES:
        return _VOLUMES[symbol]
    number = atomic_numbers[symbol]
    state = (reference_states[number] if number < len(reference_states) else None) or {}
    share = _ATOM_SHARE.get(state.get("symmetry", ""), 0.0)
    if state.get("symmetry") == "hcp":
        share *= float(state["c/a"])
    if share:
        return share * float(state["a"]) ** 3
    # 1.6 atomic spheres is the middle of what the metals above take
    return 1.6 * 4 / 3 * pi * float(covalent_radii[number]) ** 3


def mixture_volume(composition: Mapping[str, int]) -> float:
    """Guess of the volume per atom [Å^3] of a compound: the sum over its elements."""
    taken = sum(count * _ANIONS.get(symbol, 0) for symbol, count in composition.items())
    given = sum(count * _SHRINKING.get(symbol, 0) for symbol, count in composition.items())
    # beyond what the anions take, the metal is as in its element
    ionised = min(1.0, taken / given) if given else 0.0
    total = 0.0
    for symbol, count in composition.items():
        share = 1.0 - ionised * (1.0 - _ION_SHARE) if symbol in _SHRINKING else 1.0
        total += count * share * element_volume(symbol)
    return total / sum(composition.values())
