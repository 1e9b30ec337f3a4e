"""Independent codes give the same forces and stress at the settings of docs/engines.md."""

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from calculators.labelling import single_point
from potentials.structures import Label

BENCH = Path(__file__).parents[1] / "scripts" / "bench"
GIVEN = argparse.Namespace(density=2.0, cutoff=None)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    return importlib.import_module("engines")


# twice what was measured: forces [eV/Å], stress [GPa]
@pytest.mark.gpaw
@pytest.mark.timeout(1800)  # minutes for rutile, on a busy machine
@pytest.mark.parametrize(
    ("system", "other", "force", "stress"),
    [
        ("si", "espresso", 0.01, 0.8),
        ("si", "abinit", 0.01, 0.8),
        pytest.param("al", "espresso", 0.015, 1.6, marks=pytest.mark.slow),
        pytest.param("al", "abinit", 0.025, 1.0, marks=pytest.mark.slow),
        pytest.param("tio2", "espresso", 0.1, 9.0, marks=pytest.mark.slow),
        pytest.param("fe", "espresso", 0.01, 4.0, marks=pytest.mark.slow),
    ],
)
def test_engines_agree(bench, tmp_path, system, other, force, stress):
    atoms, labels = bench.structure(system), []
    for kind in ("gpaw", other):
        engine = bench.engine_of(kind, system, GIVEN)
        if problems := engine.problems(set(atoms.symbols)):
            pytest.skip(" ".join(problems))
        label = single_point(atoms, engine, tmp_path)
        assert isinstance(label, Label), label
        labels.append(label)
    row = bench.compare(labels[1], labels[0])
    assert row["force_difference"] < force
    assert row["stress_difference_gpa"] < stress
    if system == "fe":
        assert labels[1].magnetization == pytest.approx(labels[0].magnetization, abs=0.05)


def test_the_bench_compares_with_the_first_engine_that_runs(bench, tmp_path):
    given = argparse.Namespace(
        systems=["al", "si"], engines=["vasp", "emt", "emt"], density=2.0, cutoff=None
    )
    missing, first, second, *silicon = bench.rows(given, tmp_path)
    assert "has no pseudopotentials" in missing["reason"]
    assert first["force_difference"] == second["force_difference"] == 0.0
    assert all("EMT has no parameters for Si" in row["reason"] for row in silicon[1:])


def test_figures_of_a_row(bench):
    def label(forces, stress, total):
        return Label(0.0, np.array(forces), np.array(stress), "x", 1.0, None, total)

    one = label([[0.0, 0.3, 0.4]], [0.0] * 6, 2.0)
    two = label([[0.0, 0.0, 0.0]], [0.0, 0.0, -0.1, 0.0, 0.0, 0.0], None)
    row = bench.compare(one, two)
    assert row["fmax"] == pytest.approx(0.5)
    assert row["force_difference"] == pytest.approx(0.4)
    assert row["stress_difference_gpa"] == pytest.approx(16.02)
    assert row["magnetization"] == 2.0
