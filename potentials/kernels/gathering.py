"""Structures as flat arrays, and work on them shared among threads."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from potentials.batch import element_indices

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: atoms times steps that one call of compiled code may take: below a second, as no signal
#: interrupts it
LONGEST_CALL = 100_000
#: atoms times steps below which threads cost more than they save
SHORTEST_CALL = 400


@dataclass(frozen=True, eq=False, slots=True)
class Gathered:
    """M structures of N atoms one after the other, with atoms also sorted by element.

    Attributes:
        first: first atom of each structure, and the end (M + 1,).
        positions: Cartesian [Å] (N, 3).
        cells: rows [Å] (M, 3, 3).
        species: element index (N,).
        order: atoms sorted by element, counted from the first of their structure (N,).
        begin: first of each element in that order, and the end (M, E + 1).
    """

    first: IntArray
    positions: FloatArray
    cells: FloatArray
    species: IntArray
    order: IntArray
    begin: IntArray


def gather(structures: Sequence[Atoms], elements: Sequence[int]) -> Gathered:
    """Copy structures into flat arrays.

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
    return Gathered(
        first=first,
        positions=np.concatenate([atoms.positions for atoms in structures]),
        cells=np.stack([atoms.cell.array for atoms in structures]),
        species=species,
        order=order - first[system],
        begin=begin,
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
