"""The symmetry functions of ours and n2p2's rows, and the size of all networks."""

from peers.systems import CUTOFF

#: twelve radial Gaussians on equal distances [Å], their width [1/Å^2]
SHIFTS = tuple(0.5 + index * (CUTOFF - 1.0) / 11 for index in range(12))
RADIAL_ETA = 4.0
#: eighteen angular functions per pair of elements: eta [1/Å^2], lambda, zeta
ETAS, LAMBDAS, ZETAS = (0.01, 0.03, 0.1), (-1.0, 1.0), (1.0, 2.0, 4.0)
#: hidden layers
HIDDEN = (30, 30)


def descriptor() -> dict[str, object]:
    """The same functions as settings of a descriptor of this program."""
    radial = [{"kind": "radial", "eta": RADIAL_ETA, "shift": shift} for shift in SHIFTS]
    angular = [
        {"kind": "narrow", "eta": eta, "zeta": zeta, "lam": lam}
        for eta in ETAS
        for lam in LAMBDAS
        for zeta in ZETAS
    ]
    return {"kind": "acsf", "cutoff": CUTOFF, "functions": [*radial, *angular]}
