"""Replay: labels that networks have not seen make up a large share of every epoch.

Where a few new labels come to many that are fitted already, most steps of a plain epoch repeat what
is known. Here new labels are drawn again and again, and as many old ones are left out of the epoch:
others in each, so that none is forgotten.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potentials.structures import content_key

#: a label is looked at so many times in an epoch at most: two new ones are not half of everything
MOST_VISITS = 10
#: digits of a key: among a million labels, one in a million is taken for another
DIGITS = 10


def short_keys(ids: Iterable[str]) -> tuple[str, ...]:
    """Short hashes of ids, sorted: what an ensemble remembers of the labels it was trained on."""
    return tuple(sorted(map(_short, ids)))


def _short(name: str) -> str:
    return content_key(name)[:DIGITS]


def unseen(ids: Sequence[str], known: Collection[str]) -> Tensor | None:
    """Which labels networks have not been trained on (F,).

    Args:
        ids: of the labels.
        known: what they were trained on, by `short_keys`.

    Returns:
        None where there is nothing to part: nothing is known, or all or no labels are new.
    """
    known = frozenset(known)
    found = torch.tensor([_short(name) not in known for name in ids])
    return found if bool(found.any()) and not bool(found.all()) else None


@dataclass(frozen=True, eq=False, slots=True)
class Draws:
    """What an epoch looks at, in parts that make a step each.

    Attributes:
        old: places of the parts whose labels are known.
        new: places of the others.
        n_old: how many old parts an epoch takes, none twice.
        n_new: how many new ones, each once at least and as often as any other, or once more.
    """

    old: NDArray[np.int64]
    new: NDArray[np.int64]
    n_old: int
    n_new: int

    @classmethod
    def of(cls, sizes: Sequence[int], new: Sequence[bool], share: float) -> "Draws":
        """The plan of epochs of about as many labels as there are.

        Args:
            sizes: number of labels in each part.
            new: which parts are new.
            share: of the labels of an epoch that are to be new ones, if none of them is met more
                than `MOST_VISITS` times for that; where they are as many anyhow, or all are of
                one kind, an epoch is every part once.
        """
        size, fresh = np.asarray(sizes), np.asarray(new, dtype=bool)
        total, n_new = int(size.sum()), int(size[fresh].sum())
        old, parts = np.flatnonzero(~fresh), np.flatnonzero(fresh)
        share = min(share, MOST_VISITS * n_new / total)
        if n_new in (0, total) or share * total <= n_new:
            return cls(old, parts, len(old), len(parts))
        # parts are drawn alike, so that their mean size is that of the labels drawn
        kept = len(old) * (1.0 - share) * total / (total - n_new)
        repeated = len(parts) * share * total / n_new
        return cls(old, parts, max(1, round(kept)), max(len(parts), round(repeated)))

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.n_old + self.n_new

    def epoch(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Places of the parts of one epoch, in the order of its steps."""
        if self.n_old == len(self.old) and self.n_new == len(self.new):
            return rng.permutation(len(self))
        some = rng.permutation(self.old)[: self.n_old]
        rounds = [rng.permutation(self.new) for _ in range(ceil(self.n_new / len(self.new)))]
        return rng.permutation(np.concatenate([some, np.concatenate(rounds)[: self.n_new]]))
