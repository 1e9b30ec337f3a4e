"""Tersoff's potentials of silicon and carbon for ASE's calculator.

Silicon: J. Tersoff, Phys. Rev. B 38, 9902 (1988), https://doi.org/10.1103/PhysRevB.38.9902 ("T3");
carbon: Phys. Rev. Lett. 61, 2879 (1988), https://doi.org/10.1103/PhysRevLett.61.2879. Lengths in Å,
energies in eV.
"""

from typing import Any

_COMMON = {"m": 3.0, "gamma": 1.0, "lambda3": 0.0}
_SILICON = {
    "A": 1830.8, "B": 471.18, "lambda1": 2.4799, "lambda2": 1.7322, "beta": 1.1e-6, "n": 0.78734,
    "c": 1.0039e5, "d": 16.217, "h": -0.59825, "R": 2.85, "D": 0.15,
}  # fmt: skip
_CARBON = {
    "A": 1393.6, "B": 346.74, "lambda1": 3.4879, "lambda2": 2.2119, "beta": 1.5724e-7, "n": 0.72751,
    "c": 3.8049e4, "d": 4.3484, "h": -0.57058, "R": 1.95, "D": 0.15,
}  # fmt: skip


def silicon() -> Any:
    """The calculator for silicon."""
    return _calculator("Si", _SILICON)


def carbon() -> Any:
    """The calculator for carbon."""
    return _calculator("C", _CARBON)


def _calculator(symbol: str, values: dict[str, float]) -> Any:
    from ase.calculators.tersoff import Tersoff, TersoffParameters

    return Tersoff({(symbol,) * 3: TersoffParameters(**_COMMON, **values)})
