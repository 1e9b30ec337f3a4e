"""Speed of relaxations on a GPU: batches of small cells, nanoseconds per atom and step.

    python scripts/bench/gpu.py                     # as text
    python scripts/bench/gpu.py --json              # one JSON object per row
    python scripts/bench/gpu.py --device cpu --cells 256 --variants eager   # elsewhere

Without a CUDA device it says so in a row with a `reason` and no figures; other devices are timed
only where `--device` names them. The ensembles are those of `potential_speed.py`: silicon learned
the Stillinger-Weber potential, rutile made-up pairs; cutoff 6 Å, two hidden layers of 30.

Systems: `random8` random skewed cells of 8 Si, `tio2_24` rutile with displaced atoms.
Variants: `eager` plain torch, `compiled` torch.compile of everything that depends on pair vectors,
`graph` a recorded CUDA graph of one plain step, `both`.

Keys of a row: `system`, `cells`, `K`, `variant`, `precision`; `ns_per_atom_step` (steps alone),
`ns_per_atom_list` (one renewal of all lists), `bytes_per_atom` (peak while stepping), `error_ev`
and `error_ev_per_a` (largest difference of energies per atom and forces from the reference in
float64); for `random8` also `relaxations_per_s` (fmax 0.05 eV/Å, at most 200 steps, swaps and lists
and transfers included), `steps` of a structure on average, `ns_per_atom_step_whole` (that time
over all steps that were needed), and `converged`. Least wall time of some rounds; on a CPU its
time on one core (`clock`).
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from peers import models, systems

from potentials.device import Setup, predict, relax
from potentials.device.deck import Course, Deck
from potentials.device.fire import Rules
from potentials.device.model import model_of
from potentials.device.state import state_of
from potentials.ensemble import Ensemble

VARIANTS = {
    "eager": {},
    "compiled": {"backend": "inductor"},
    "graph": {"graph": True},
    "both": {"backend": "inductor", "graph": True},
}
ELEMENT = {"random8": "si", "tio2_24": "tio2"}
FMAX, MAX_STEPS = 0.05, 200
#: distinct cells; more of them are copies with atoms displaced
DISTINCT = 256
#: looks in a timed round, and rounds
LOOKS, ROUNDS = 5, 5


def crystals(system: str, count: int) -> list[Atoms]:
    """As many different structures of a system."""
    rng = np.random.default_rng(0)
    if system == "random8":
        made = systems.random_cells(min(count, DISTINCT))
    else:
        made = [systems.rutile() for _ in range(min(count, DISTINCT))]
    repeated = [made[index % len(made)].copy() for index in range(count)]
    for atoms in repeated:
        atoms.positions += rng.normal(0.0, 0.02, atoms.positions.shape)
    return repeated


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Least time of some rounds, after one that does not count."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    spent = []
    for _ in range(rounds + 1):
        wait(device)
        start = clock()
        work()
        wait(device)
        spent.append(clock() - start)
    return min(spent[1:])


def deck_of(structures: list[Atoms], ensemble: Ensemble, course: Course) -> Deck:
    """All structures in one batch, with lists just wide enough."""
    state = state_of(
        structures,
        ensemble.elements,
        course.model.members,
        course.setup.state_dtype,
        crystals=True,
    )
    species = torch.where(state.real, state.species, -1).numpy()
    owners = np.arange(len(structures))
    deck = Deck(state.to(course.device), owners, species, course, 96)
    deck.renew()
    deck.widen(int(deck.look().count.max()) + 4)
    deck.renew()
    return deck


def steps(
    structures: list[Atoms], ensemble: Ensemble, setup: Setup, device: torch.device
) -> dict[str, Any]:
    """Time and memory of single steps, all structures in one batch."""
    rules = Rules.of(ensemble, None, (0.0, FMAX, MAX_STEPS)).to(device, setup.dtype)
    course = Course(model_of(ensemble, device, setup), rules, setup, device)
    deck = deck_of(structures, ensemble, course)
    n_atoms = sum(len(atoms) for atoms in structures)
    deck.advance()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        _no_waiting(deck)

    def advance() -> None:
        for _ in range(LOOKS):
            deck.advance()

    def renew() -> None:
        deck.worn[:] = True
        deck.renew()

    each = seconds(advance, device, ROUNDS) / (LOOKS * setup.stride)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "ns_per_atom_step": 1e9 * each / n_atoms,
        "bytes_per_atom": None if peak is None else peak / n_atoms,
        "ns_per_atom_list": 1e9 * seconds(renew, device, ROUNDS) / n_atoms,
        "width": deck.lists.width,
    }


def _no_waiting(deck: Deck) -> None:
    """Make steps in a mode in which torch refuses to wait for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        deck.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def whole(
    structures: list[Atoms], ensemble: Ensemble, setup: Setup, device: torch.device
) -> dict[str, Any]:
    """Relaxations from beginning to end, as a user calls them."""
    ends: list[Any] = []

    def work() -> None:
        ends[:] = relax(
            structures, ensemble, device=device, fmax=FMAX, max_steps=MAX_STEPS, setup=setup
        )

    spent = seconds(work, device, 1)
    made = sum((end.steps + 1) * len(end.atoms) for end in ends)
    return {
        "relaxations_per_s": len(ends) / spent,
        "ns_per_atom_step_whole": 1e9 * spent / made,
        "steps": float(np.mean([end.steps for end in ends])),
        "converged": sum(end.stopped == "converged" for end in ends),
    }


def errors(
    structures: list[Atoms], ensemble: Ensemble, setup: Setup, device: torch.device
) -> dict[str, float]:
    """Largest differences from the reference in float64 on the host."""
    found = predict(structures, ensemble, device=device, setup=setup)
    expected = ensemble.predict(structures)
    per_atom = (found.energy - expected.energy).abs() / len(structures[0])
    return {
        "error_ev": float(per_atom.max()),
        "error_ev_per_a": float((found.forces - expected.forces).abs().max()),
    }


def rows(given: argparse.Namespace, device: torch.device, folder: Path) -> Iterator[dict[str, Any]]:
    """All measurements."""
    kinds = product(given.systems, given.members, given.cells, given.variants)
    for system, members, count, variant in kinds:
        ensemble = models.load(models.make(folder, "moments", ELEMENT[system]), members)
        structures = crystals(system, count)
        setup = Setup(
            dtype=torch.float64 if given.double else torch.float32,
            most=max(given.cells),
            **VARIANTS[variant],
        )
        row = {
            "system": system,
            "cells": count,
            "K": members,
            "variant": variant,
            "precision": str(setup.dtype).removeprefix("torch."),
            "device": name_of(device),
            "clock": "cpu" if device.type == "cpu" else "wall",
        }
        row |= errors(structures[:8], ensemble, replace(setup, graph=False), device)
        row |= steps(structures, ensemble, setup, device)
        if system == "random8":
            row |= whole(structures, ensemble, setup, device)
        yield row


def name_of(device: torch.device) -> str:
    """What the device calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def show(row: dict[str, Any], *, as_json: bool) -> None:
    """One row, as JSON or as text."""
    if as_json:
        print(json.dumps(row), flush=True)
        return
    cells = [
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row.items()
    ]
    print("  ".join(cells), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object per row")
    add("--device", default="", help="a torch device; the first GPU by default")
    add("--cells", type=int, nargs="+", default=[1024, 4096], help="structures together")
    add("--members", type=int, nargs="+", default=[4, 8], help="K")
    add("--systems", nargs="+", default=[*ELEMENT], choices=[*ELEMENT])
    add("--variants", nargs="+", default=[*VARIANTS], choices=[*VARIANTS])
    add("--double", action="store_true", help="float64 throughout")
    add("--models", type=Path, help="keep the fitted ensembles there, and use those found there")
    return parser


def main() -> None:
    """Measure and print."""
    given = _parser().parse_args()
    if not given.device and not torch.cuda.is_available():
        reason = (
            f"no CUDA device found (torch {torch.__version__}); nothing was measured. "
            "Run it where there is a GPU, or name another device with --device"
        )
        print(reason, file=sys.stderr)
        show({"device": None, "reason": reason}, as_json=given.json)
        return
    device = torch.device(given.device or "cuda")
    if device.type != "cuda":
        given.variants = [name for name in given.variants if "graph" not in VARIANTS[name]]
    if device.type == "cpu":
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows(given, device, given.models or Path(scratch)):
            show(row, as_json=given.json)


if __name__ == "__main__":
    main()
