"""Anions of oxides and salts: how close they come to each other, and how densely they pack.

Spheres of covalent radii let oxygen atoms of an oxide touch at 1.2 Å, which costs electronvolts and
is what nearly every random crystal of an oxide then pays; in TiO2 they are 2.5 Å apart. Other
programs ask their users for the distances of every pair.
"""

from collections.abc import Mapping
from itertools import combinations_with_replacement
from math import sqrt

#: charge, and effective ionic radius for six neighbours [Å]: R. D. Shannon, Acta Crystallogr. A
#: 32, 751 (1976), https://doi.org/10.1107/S0567739476001551
_ANIONS = {
    "O": (2, 1.40), "S": (2, 1.84), "Se": (2, 1.98), "Te": (2, 2.21),
    "F": (1, 1.33), "Cl": (1, 1.81), "Br": (1, 1.96), "I": (1, 2.20), "N": (3, 1.46),
}  # fmt: skip
#: the highest charge that is common, as the rows of pymatgen's table
_CATIONS = {
    symbol: charge
    for charge, symbols in {
        1: "Li Na K Rb Cs Ag",
        2: "Be Mg Ca Sr Ba Zn Cd Hg Cu Ni",
        3: "B Al Ga In Tl Sc Y La Fe Co Rh Au Bi Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Ac",
        4: "Si Ge Sn Pb Ti Zr Hf Ru Pd Os Ir Pt Ce Th Pu",
        5: "P As Sb V Nb Ta Pa Np",
        6: "Cr Mo W U",
        7: "Mn Tc Re",
    }.items()
    for symbol in symbols.split()
}
# of the sum of radii: the edges that octahedra of TiO2 share are 2.46 Å, those of stishovite 2.29
_NEAREST = 0.8


def anion_distances(composition: Mapping[str, int]) -> dict[tuple[str, str], float]:
    """How close anions come to each other [Å] by sorted pair; empty where none is known to.

    Known are compounds of metals (and Si, Ge, B, P, As) with N, O, S, Se, Te and halogens whose
    charges the others can make up for. Of Li2O2, FeS2 or CaCO3 they cannot: anions, or those and
    what else is there, may be bonded.

    Args:
        composition: atoms in the cell by symbol.
    """
    anions = sorted(symbol for symbol in composition if symbol in _ANIONS)
    cations = [symbol for symbol in composition if symbol in _CATIONS]
    if not anions or len(anions) + len(cations) < len(composition):
        return {}
    asked = sum(_ANIONS[symbol][0] * composition[symbol] for symbol in anions)
    if asked > sum(_CATIONS[symbol] * composition[symbol] for symbol in cations):
        return {}
    return {
        (one, two): _NEAREST * (_ANIONS[one][1] + _ANIONS[two][1])
        for one, two in combinations_with_replacement(anions, 2)
    }


def packed_volume(composition: Mapping[str, int]) -> float:
    """Volume at which the anions alone are close-packed [Å^3/atom]; 0 where none is known to be.

    The dense forms of oxides lie there (corundum 8.7, rutile 10.4; this gives 9.3 and 10.3), open
    ones up to half above.
    """
    if not anion_distances(composition):
        return 0.0
    spheres = sum(
        count * (2 * _ANIONS[symbol][1]) ** 3 / sqrt(2)
        for symbol, count in composition.items()
        if symbol in _ANIONS
    )
    return spheres / sum(composition.values())
