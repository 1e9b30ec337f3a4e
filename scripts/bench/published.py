"""Published data sets as frames, split as their authors split them, and the errors they publish.

The data are not part of this project; the environment variable AGA_REFERENCE_DATA names their
folder. Sources: Zuo et al., J. Phys. Chem. A 124, 731 (2020), doi:10.1021/acs.jpca.9b08723 (Si, Cu,
Mo); Lopez-Zorrilla et al., J. Chem. Phys. 158, 164105 (2023), doi:10.1063/5.0146803 (TiO2);
Yanxon et al., Mach. Learn.: Sci. Technol. 2, 027001 (2020), doi:10.1088/2632-2153/abc940 (random
crystals of Si).
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from potentials.formats import aenet, extxyz
from potentials.structures import Frame

#: random crystals above this are left out, as in the source [eV/atom]
HIGHEST = -4.0
#: two structures in a row whose cells differ more than this are different crystals
SAME_CELL = 0.25


@dataclass(frozen=True, eq=False, slots=True)
class DataSet:
    """Training and test structures, and what others reach: {name: (meV/atom, eV/Å)}."""

    name: str
    train: Sequence[Frame]
    test: Sequence[Frame]
    published: dict[str, tuple[float, float]]


PUBLISHED = {
    "Si": {"ACSF network": (6.93, 0.170), "qSNAP": (5.51, 0.177)},
    "Cu": {"ACSF network": (1.68, 0.063), "qSNAP": (0.77, 0.055)},
    "Mo": {"ACSF network": (5.43, 0.204), "qSNAP": (4.04, 0.333)},
    "TiO2": {"aenet-PyTorch, 3191 s": (7.8, 0.388)},
    "random Si": {},
}


def load(name: str) -> DataSet:
    """One of the data sets by name.

    Raises:
        SystemExit: AGA_REFERENCE_DATA is not set.
    """
    root = os.environ.get("AGA_REFERENCE_DATA")
    if not root:
        sys.exit("AGA_REFERENCE_DATA is not set: it names the folder of the published data sets")
    readers = {"TiO2": _titania, "random Si": _random_silicon}
    train, test = readers.get(name, _mlearn)(Path(root), name)
    return DataSet(name, train, test, PUBLISHED[name])


def _mlearn(root: Path, name: str) -> tuple[list[Frame], list[Frame]]:
    folder = root / "mlearn" / "extxyz"
    return extxyz.read(folder / f"{name}_train.extxyz"), extxyz.read(folder / f"{name}_test.extxyz")


def _titania(root: Path, name: str) -> tuple[list[Frame], list[Frame]]:
    """The authors' 1000 structures with their own split of 900 and 100."""
    folder = root / "aenet_TiO2" / "example"

    def part(kind: str) -> list[Frame]:
        lines = (folder / "02-train" / "output" / f"energies.{kind}").read_text().splitlines()
        paths = [folder / "dir_xsf" / Path(line.split()[-1]).name for line in lines]
        return [frame for path in paths for frame in aenet.read(path)]

    return part("train"), part("test")


def _random_silicon(root: Path, name: str) -> tuple[list[Frame], list[Frame]]:
    """Four crystals in five for training; all structures of one crystal on one side."""
    frames = extxyz.read(root / "pyxtal_ff" / "Si_pyxtal_rss.extxyz")
    low = [frame for frame in frames if frame.label.energy / len(frame.atoms) < HIGHEST]
    groups: list[list[Frame]] = []
    for frame in low:
        if not groups or not _same_crystal(groups[-1][-1], frame):
            groups.append([])
        groups[-1].append(frame)
    order = np.random.default_rng(0).permutation(len(groups))
    cut = len(groups) // 5
    sides = [[f for place in own for f in groups[place]] for own in (order[cut:], order[:cut])]
    return sides[0], sides[1]


def _same_crystal(one: Frame, other: Frame) -> bool:
    """Whether two structures in a row are steps of one relaxation."""
    if len(one.atoms) != len(other.atoms):
        return False
    ratio = other.atoms.cell.cellpar() / one.atoms.cell.cellpar()
    return bool(np.abs(ratio - 1.0).max() <= SAME_CELL)
