"""Small random crystals, their EMT labels, and quick settings, for all tests."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.emt import EMT
from hypothesis import strategies as st

from potentials.spec import EnsembleSpec
from potentials.structures import Frame, Label

#: volume [Å^3/atom] that suits copper and gold
VOLUME = 15.0


def random_crystal(
    rng: np.random.Generator,
    symbols: Sequence[str],
    *,
    volume: float = VOLUME,
    skew: float = 0.3,
    min_distance: float = 1.9,
) -> Atoms:
    """A skewed periodic cell of these atoms, the loosest of some tries.

    Args:
        rng: source of the crystal.
        symbols: one symbol per atom.
        volume: [Å^3/atom].
        skew: size of the random part of the cell matrix.
        min_distance: a try with no shorter distance is taken at once [Å].
    """
    best, widest = None, -1.0
    for _ in range(200):
        cell = np.eye(3) + skew * rng.uniform(-1.0, 1.0, (3, 3))
        if np.linalg.det(cell) < 0.2:
            continue
        cell *= (volume * len(symbols) / np.linalg.det(cell)) ** (1 / 3)
        atoms = Atoms(symbols, scaled_positions=rng.random((len(symbols), 3)), cell=cell, pbc=True)
        shortest = _shortest(atoms)
        if shortest > widest:
            best, widest = atoms, shortest
        if shortest >= min_distance:
            break
    if best is None:
        raise ValueError(f"skew {skew} gives no cell with volume; choose a smaller one")
    return best


def _shortest(atoms: Atoms) -> float:
    """Smallest distance between atoms and images [Å]."""
    shifts = np.array(list(np.ndindex(3, 3, 3))) - 1
    moved = (shifts @ atoms.cell.array)[:, None, None, :]
    vectors = atoms.positions[None, :, None, :] - atoms.positions[None, None, :, :] + moved
    lengths = np.linalg.norm(vectors, axis=-1)
    return float(lengths[lengths > 1e-9].min())


def emt_label(atoms: Atoms, *, stress: bool = True) -> Label:
    """A label in an instant: ASE's effective-medium toy potential."""
    work = atoms.copy()
    work.calc = EMT()
    return Label(
        energy=float(work.get_potential_energy()),
        forces=np.array(work.get_forces(), dtype=np.float64),
        stress=np.array(work.get_stress(), dtype=np.float64) if stress else None,
        engine="emt",
    )


def emt_frames(
    count: int, seed: int = 0, species: Sequence[str] = ("Cu", "Au"), sizes: Sequence[int] = (2, 3)
) -> list[Frame]:
    """Labelled random crystals of mixed size and composition."""
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        symbols = [*species, *rng.choice(species, 8)][: int(rng.choice(sizes))]
        atoms = random_crystal(rng, symbols, volume=VOLUME * rng.uniform(0.8, 1.3))
        made.append(Frame(f"f{index:03d}", atoms, emt_label(atoms)))
    return made


def rattled_crystals(count: int, seed: int = 0) -> list[Atoms]:
    """Cu-Au orders on the fcc lattice, strained, displaced, from compressed to expanded."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        atoms = Atoms(
            rng.choice(["Cu", "Au"], 4),
            scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
            cell=np.eye(3) * 3.9,
            pbc=True,
        )
        strain = rng.uniform(0.9, 1.12) * (np.eye(3) + rng.uniform(-0.06, 0.06, (3, 3)))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.12, (4, 3))
        made.append(atoms)
    return made


def quick_spec(**changes: object) -> EnsembleSpec:
    """Settings that fit in a moment; top-level keys may be replaced."""
    data: dict[str, object] = {
        "descriptor": {
            "kind": "moments",
            "cutoff": 4.5,
            "radial": 5,
            "angular": 2,
            "degree": 3,
        },
        "members": 3,
        "network": {"hidden": (6, 5), "epochs": 10, "min_labels": 8},
    }
    return EnsembleSpec.model_validate(data | changes)


@st.composite
def crystals(
    draw: st.DrawFn, species: Sequence[str] = ("Cu", "Au"), min_size: int = 1, max_size: int = 4
) -> Atoms:
    """Random crystals by a drawn composition and seed."""
    symbols = draw(st.lists(st.sampled_from(species), min_size=min_size, max_size=max_size))
    seed = draw(st.integers(0, 2**31 - 1))
    skew = draw(st.sampled_from([0.0, 0.3, 0.8]))
    return random_crystal(np.random.default_rng(seed), symbols, skew=skew, min_distance=1.6)


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray:
    """Proper rotation matrices (3, 3)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    matrix, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(upper))
    return np.asarray(matrix * np.linalg.det(matrix), dtype=np.float64)


@st.composite
def unimodular(draw: st.DrawFn) -> np.ndarray:
    """Integer matrices of determinant 1: another choice of cell vectors (3, 3)."""
    matrix = np.eye(3, dtype=int)
    for _ in range(draw(st.integers(1, 3))):
        row, other = draw(st.permutations([0, 1, 2]))[:2]
        matrix[row] += draw(st.sampled_from([-1, 1])) * matrix[other]
    return matrix
