"""Structures as flat arrays, and work on them shared among threads."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from potentials.batch import element_indices
from potentials.kernels.structure import Batch

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: atoms times steps that one call of compiled code may take: below a second, as no signal
#: interrupts it
LONGEST_CALL = 100_000
#: atoms times steps below which threads cost more than they save
SHORTEST_CALL = 400


def gather(structures: Sequence[Atoms], elements: Sequence[int]) -> Batch:
    """Copy structures into flat arrays, their atoms also sorted by element.

    Raises:
        UnknownElementError: an element is not in ``elements``.
    """
    sizes = np.array([len(atoms) for atoms in structures], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.concatenate([atoms.numbers for atoms in structures])
    table = np.full(max(int(numbers.max(initial=0)), *elements) + 1, -1)
    table[list(elements)] = np.arange(len(elements))
    species = table[numbers]
    if (species < 0).any():
        for atoms in structures:
            element_indices(atoms, elements)
    system = np.repeat(np.arange(len(sizes)), sizes)
    place = system * len(elements) + species
    order = np.argsort(place, kind="stable")
    counts = np.bincount(place, minlength=len(sizes) * len(elements))
    begin = np.zeros((len(sizes), len(elements) + 1), dtype=np.int64)
    np.cumsum(counts.reshape(len(sizes), -1), axis=1, out=begin[:, 1:])
    return Batch(
        first=first,
        positions=np.concatenate([atoms.positions for atoms in structures]),
        cells=np.stack([atoms.cell.array for atoms in structures]),
        periodic=np.array([atoms.pbc for atoms in structures], dtype=np.int64),
        species=species,
        order=order - first[system],
        begin=begin,
    )


def refuse_infinite(given: Batch) -> None:
    """Say which structure holds a number that is not finite.

    Raises:
        ValueError: there is one.
    """
    strange = np.flatnonzero(~np.isfinite(given.cells.reshape(-1, 9)).all(axis=1))
    astray = np.flatnonzero(~np.isfinite(given.positions).all(axis=1))
    astray = np.searchsorted(given.first, astray, side="right") - 1
    if len(strange) or len(astray):
        raise ValueError(
            f"structure {min([*strange, *astray])} of {len(given.cells)} has a position or cell "
            "vector that is not finite; remove it, or look for where it was made"
        )


def flat(place: int) -> str:
    """What is wrong with a structure whose neighbours cannot be counted."""
    return (
        f"structure {place} is periodic but its cell is (almost) without volume, so that its "
        "neighbours cannot be counted; give it a cell, or set pbc to False"
    )


def share(work: Callable[[int, int], None], first: IntArray, steps: int, threads: int) -> None:
    """Do work(start, stop) for ranges of structures that cover all, each once.

    Args:
        work: takes a range; called from several threads.
        first: first atom of each structure, and the end (M + 1,).
        steps: how often each structure is evaluated, at most.
        threads: largest number of threads.
    """
    effort = int(first[-1]) * max(steps, 1)
    threads = min(threads, len(first) - 1, max(effort // SHORTEST_CALL, 1))
    # several ranges a thread, so that none waits long for the last
    limit = min(LONGEST_CALL, effort // (8 * threads) if threads > 1 else LONGEST_CALL)
    ranges = deque(_ranges(first, max(limit // max(steps, 1), 1)))
    if threads == 1:
        for start, stop in ranges:
            work(start, stop)
        return
    stopped = Event()

    def one_thread() -> None:
        while not stopped.is_set():
            try:
                start, stop = ranges.popleft()
            except IndexError:
                return
            work(start, stop)

    with ThreadPoolExecutor(threads) as pool:
        try:
            for future in [pool.submit(one_thread) for _ in range(threads)]:
                future.result()
        finally:
            stopped.set()


def _ranges(first: IntArray, most_atoms: int) -> list[tuple[int, int]]:
    """Ranges of structures of at most so many atoms, or of one structure."""
    ranges, start = [], 0
    for stop in range(1, len(first)):
        last = stop + 1 == len(first)
        if last or first[stop + 1] - first[start] > most_atoms:
            ranges.append((start, stop))
            start = stop
    return ranges
