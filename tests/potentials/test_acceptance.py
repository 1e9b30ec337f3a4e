"""Which labels are rejected before a fit, under which name, and how they are counted."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from potentials.acceptance import NO_LIMITS, Limits, Rejection, accepted, summary
from potentials.formats import extxyz
from potentials.structures import Frame, Label
from tests.crystals import emt_frames


def changed(frame, *, name="x", energy=None, forces=None, positions=None):
    """A frame with another number here or there."""
    atoms = frame.atoms.copy()
    if positions is not None:
        atoms.positions = positions
    label = replace(
        frame.label,
        energy=frame.label.energy if energy is None else energy,
        forces=frame.label.forces if forces is None else forces,
    )
    return Frame(name, atoms, label)


@pytest.fixture(scope="module")
def frames():
    return emt_frames(20)


def test_sane_labels_stay(frames):
    assert accepted(frames) == (frames, [])


def test_a_violent_force(frames):
    forces = np.zeros_like(frames[0].label.forces)
    forces[1] = [0.0, 512.0, 0.0]
    found = [frames[1], changed(frames[0], forces=forces), frames[2]]
    kept, rejected = accepted(found)
    assert kept == [frames[1], frames[2]]
    assert rejected == [Rejection(2, "x", "largest force above 100 eV/Å", "512 eV/Å")]
    assert accepted(found, Limits(force=600.0))[1] == []
    assert accepted(found, Limits(force=None))[1] == []


@pytest.mark.parametrize("size", [1e3, 1e6, -1e3, -1e8])
def test_an_absurd_energy_does_not_hide_itself_or_drag_others_along(frames, size):
    # mixed compositions: the sum over elements has to be found despite the outlier
    wrong = changed(frames[3], energy=frames[3].label.energy + size)
    kept, rejected = accepted([*frames[:3], wrong, *frames[4:]])
    assert len(kept) == 19
    assert [one.number for one in rejected] == [4]
    assert rejected[0].reason == "energy more than 50 eV/atom off its composition"


def test_compositions_alone_are_no_outliers():
    """Energies of all-electron codes differ by thousands of eV between elements."""
    made = []
    for count in range(1, 9):
        atoms = Atoms(f"H{count}O{9 - count}", np.arange(27.0).reshape(9, 3))
        energy = -13.6 * count - 2040.0 * (9 - count)
        made.append(Frame(str(count), atoms, Label(energy, np.zeros((9, 3)), None, "x")))
    assert accepted(made)[1] == []


def test_atoms_on_top_of_each_other(frames):
    positions = frames[0].atoms.positions.copy()
    # one whole cell vector away is the same place
    positions[0] = positions[1] + frames[0].atoms.cell[0] + [0.0, 0.0, 0.1]
    kept, rejected = accepted([changed(frames[0], positions=positions)])
    assert not kept
    assert str(rejected[0]) == "frame 1: two atoms closer than 0.3 Å (0.1 Å)"


def test_a_label_that_comes_again(frames):
    again = changed(frames[2], name="other")
    kept, rejected = accepted([*frames[:5], again])
    assert kept == frames[:5]
    assert str(rejected[0]) == "frame 6: the same as one before (frame 3)"
    assert accepted([*frames[:5], again], Limits(duplicates=True))[1] == []
    other = changed(frames[2], energy=frames[2].label.energy + 0.01)
    assert accepted([frames[2], other])[1] == []


def test_what_was_rejected_before_keeps_its_place(frames):
    broken = Rejection(2, "", "not finite", "forces")
    kept, rejected = accepted([frames[0], broken, frames[0]])
    assert kept == [frames[0]]
    assert rejected[0] is broken
    assert rejected[1].number == 3


def test_without_limits_all_that_is_finite_is_measured(frames):
    wrong = changed(frames[0], energy=1e6, forces=frames[0].label.forces + 1e4)
    assert accepted([wrong, wrong], NO_LIMITS) == ([wrong, wrong], [])


def test_the_summary_counts_by_reason(frames):
    broken = [Rejection(n, "", "not finite", "energy") for n in (4, 7)]
    lines = summary([*broken, Rejection(9, "", "too hot")], 30)
    assert lines == [
        "left out 3 of 30 structures:",
        "       2  not finite (first: frame 4: energy)",
        "       1  too hot (first: frame 9)",
    ]
    assert summary([], 30) == []


def test_nothing_at_all():
    assert accepted([]) == ([], [])


@pytest.mark.reference
def test_published_random_crystals():
    """Its highest energies are real; its copies and one violent label are not wanted."""
    if "AGA_REFERENCE_DATA" not in os.environ:
        pytest.skip("AGA_REFERENCE_DATA is not set: the folder of published data")
    folder = Path(os.environ["AGA_REFERENCE_DATA"])
    found = extxyz.scan(folder / "pyxtal_ff" / "Si_pyxtal_rss.extxyz")
    kept, rejected = accepted(found)
    assert len(kept) == 6763
    assert {one.reason for one in rejected} == {
        "the same as one before",
        "largest force above 100 eV/Å",
    }
