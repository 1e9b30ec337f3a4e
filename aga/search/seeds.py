"""Random symmetric crystals and clusters, and pushing atoms apart that are too close."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, reference_states
from numpy.random import Generator

from aga.search import symmetric
from aga.search.cluster_seeds import packed
from aga.search.neighbours import FloatArray, IntArray, neighbours
from aga.search.space import PairDistances, Space, covalent_distances, pair_matrix, tidied

_VOLUME_FACTORS = (0.85, 1.25)
# soft spheres of 0.9 sums of covalent radii = 1.2 x the 0.75 that proposals must keep
SEED_SCALE = 1.2
# share of random oxides and salts whose anions may be as close as if they were bonded
_BONDED_ANIONS = 0.2
# sums of covalent radii: a placement with shorter distances is drawn again
_TOUCHING = 0.5
# what moves by less in a step has come to rest [Å]: atoms that their symmetry holds in place would
# move for as long as it takes rounding errors to grow, and leave it
_AT_REST = 1e-3
# pairs are looked for so much further than they can touch [Å]
_SKIN = 1.0
PROTOTYPES = ("fcc", "bcc", "hcp", "diamond")
# volume of silicon, germanium and tin as diamond over that of their close-packed forms
_OPEN = 1.35


def random_crystal(space: Space, rng: Generator, *, tries: int = 200) -> Atoms:
    """A random crystal of a random space group, or cluster, close atoms pushed apart.

    The space group is drawn evenly from ``space.spacegroups`` (again where the composition does
    not fit its Wyckoff positions), the volume from 0.85 to 1.25 times a guess.

    Raises:
        ValueError: no try gave a feasible structure; the message counts why.
    """
    reasons: Counter[str] = Counter()
    for _ in range(tries):
        crystal, reason = attempt(space, rng)
        if crystal is not None:
            return crystal
        reasons[reason] += 1
    common = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
    if space.dimension == "cluster":
        raise ValueError(
            f"random_crystal: expected a cluster of {dict(space.composition)}, got none in {tries} "
            f"tries ({common}); allow shorter distances or another volume_per_atom"
        )
    raise ValueError(
        f"random_crystal: expected a crystal of {dict(space.composition)} near "
        f"{space.volume_per_atom:.1f} Å^3/atom, got none in {tries} tries ({common}); allow more "
        "space groups, a larger volume_per_atom or shorter distances"
    )


def many(space: Space, n: int, rng: Generator) -> list[Atoms]:
    """``n`` random crystals or clusters."""
    return [random_crystal(space, rng) for _ in range(n)]


def prototypes(space: Space) -> list[Atoms]:
    """The simple crystals of an element: fcc, bcc, hcp and diamond, near the guessed volume.

    Diamond takes more room than close packing, so each is scaled from the form that the element has
    by itself.

    Raises:
        ValueError: the space is not of one element.
    """
    from ase.build import bulk  # imports calculators that are installed

    if len(space.symbols) != 1:
        raise ValueError(f"prototypes: expected one element, got {space.name}")
    (symbol,) = space.symbols
    number = atomic_numbers[symbol]
    state = (reference_states[number] if number < len(reference_states) else None) or {}
    open_by_itself = state.get("symmetry") == "diamond"
    found = []
    for name in PROTOTYPES:
        room = _OPEN if name == "diamond" else 1.0
        volume = space.volume_per_atom * room / (_OPEN if open_by_itself else 1.0)
        crystal = bulk(symbol, name, a=1.0, **({"c": (8 / 3) ** 0.5} if name == "hcp" else {}))
        scale = (volume * len(crystal) / crystal.get_volume()) ** (1 / 3)
        crystal.set_cell(crystal.cell.array * scale, scale_atoms=True)
        found.append(tidied(crystal))
    return found


def attempt(space: Space, rng: Generator) -> tuple[Atoms | None, str]:
    """One try: a feasible crystal or cluster and "", or None and the reason."""
    wide = _diameters(space, rng)
    if space.dimension == "cluster":
        crystal = packed(space, rng)
        if crystal is None:
            return None, "no places in its point group"
        return _apart(crystal, space, wide)
    number = int(rng.choice(space.spacegroups))
    volume = space.volume_per_atom
    if space.volumes:
        volume = float(rng.choice([volume, *space.volumes]))
    volume *= float(rng.uniform(*_VOLUME_FACTORS))
    crystal = _symmetric(space, number, volume, rng)
    if crystal is None:
        return None, "no placement in its space group"
    return _apart(crystal, space, wide)


def _diameters(space: Space, rng: Generator) -> PairDistances:
    """Of the soft spheres of a random structure [Å]: mostly with anions as far apart as they are.

    Of oxides most pay for anions that touch. The others are for compounds in which anions are
    bonded after all.
    """
    spheres = {pair: SEED_SCALE * value for pair, value in space.proposal_distance.items()}
    if not space.anion_distance or rng.random() < _BONDED_ANIONS:
        return spheres
    return spheres | {
        pair: max(value, spheres[pair]) for pair, value in space.anion_distance.items()
    }


def _apart(crystal: Atoms, space: Space, diameters: PairDistances) -> tuple[Atoms | None, str]:
    """A raw structure with its atoms pushed apart, or None and why that is not enough."""
    crystal = separate(tidied(crystal), diameters)
    allowed = {pair: value / SEED_SCALE for pair, value in diameters.items()}
    reason = space.feasible(crystal, allowed)
    return (None, reason) if reason else (crystal, "")


def separate(atoms: Atoms, diameters: PairDistances, *, steps: int = 60) -> Atoms:
    """A copy with close atoms pushed apart at fixed cell.

    Damped steps downhill on soft spheres, until nothing touches or all is at rest. Symmetry is
    kept, as far as rounding errors do not grow: every atom moves by the same rule.

    Args:
        atoms: the structure.
        diameters: the distances that atoms are to keep [Å] by sorted pair of symbols.
        steps: most steps made.
    """
    apart = atoms.copy()
    table, rows = pair_matrix(apart, diameters)
    close, made = _close(apart, table, rows), apart.positions.copy()
    for _ in range(steps):
        drift = apart.positions - made
        if np.sqrt((drift**2).sum(axis=1).max()) > _SKIN / 2:
            close, made = _close(apart, table, rows), apart.positions.copy()
            drift = np.zeros_like(made)
        moves = close.moves(drift)
        if moves is None:
            break
        longest = np.sqrt((moves**2).sum(axis=1).max())
        if longest < _AT_REST:
            break
        apart.positions += moves * min(1.0, 0.3 / longest)
    apart.wrap()
    return apart


@dataclass(frozen=True, eq=False)
class _Close:
    """Pairs of atoms that touch, or may after a few steps; they serve until atoms have moved.

    Attributes:
        first: index of one atom (P,).
        second: index of the other (P,).
        vectors: from the first to the second where they were found [Å] (P, 3).
        diameters: the distance that they are to keep [Å] (P,).
    """

    first: IntArray
    second: IntArray
    vectors: FloatArray
    diameters: FloatArray

    def moves(self, drift: FloatArray) -> FloatArray | None:
        """A step downhill for all atoms [Å] (N, 3), or None where none touch.

        Args:
            drift: how far atoms have come since the pairs were found [Å] (N, 3).
        """
        vectors = self.vectors + drift[self.second] - drift[self.first]
        distances = np.sqrt((vectors**2).sum(axis=1))
        overlap = self.diameters - distances
        # what touches within 0.001 Å is apart
        near = np.flatnonzero(overlap > 1e-3)
        if not len(near):
            return None
        length = distances[near, None]
        # two atoms on one place part along x
        way = np.where(length > 1e-6, vectors[near] / np.maximum(length, 1e-6), [1.0, 0, 0])
        push = 0.3 * overlap[near, None] * way
        ends = np.concatenate([self.second[near], self.first[near]])
        both = np.concatenate([push, -push])
        return np.column_stack([np.bincount(ends, both[:, x], len(drift)) for x in range(3)])


def _close(atoms: Atoms, diameters: FloatArray, rows: IntArray) -> _Close:
    """Pairs that touch, or may before atoms have moved by half the skin."""
    pairs = neighbours(atoms, float(diameters.max()) + _SKIN)
    wanted = diameters[rows[pairs.first], rows[pairs.second]]
    # an atom cannot flee its own image
    kept = (pairs.first != pairs.second) & (pairs.distances < wanted + _SKIN)
    return _Close(pairs.first[kept], pairs.second[kept], pairs.vectors[kept], wanted[kept])


def _symmetric(space: Space, number: int, volume: float, rng: Generator) -> Atoms | None:
    """A crystal of the space group, or a repeated part of the cell that has it.

    None where the composition fits no choice of positions. Half sums of covalent radii are far
    enough apart: `separate` does the rest.
    """
    matrix = symmetric.drawn_supercell(number, space.composition, rng)
    if matrix is None:
        return None
    crystal = symmetric.symmetric_crystal(
        number,
        symmetric.part(space.composition, symmetric.cells_of(matrix)),
        volume,
        min(covalent_distances(space.symbols, _TOUCHING).values()),
        rng,
    )
    return None if crystal is None else symmetric.supercell(crystal, matrix)
