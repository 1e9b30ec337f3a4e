"""Which rows there are: every code and system, and what of this program each is compared with."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from peers.prepared import Variant

#: files of this folder that hold a code, in the order of the table
PEERS = ("calorine", "lammps", "torchani", "deepmd", "n2p2", "torch_sim")
#: the system of relaxations
RELAXED = "random8x32"
#: a batch that is worth more than one thread; smaller ones take a millisecond or less
THREADED = "si8x1024"


@dataclass(frozen=True, slots=True)
class Job:
    """One row to measure, next to ``base`` of this program on the same system."""

    peer: str
    variant: Variant
    base: Variant
    system: str
    threads: int = 1

    @property
    def relaxes(self) -> bool:
        """Whether a unit of work is a relaxation and not an atom."""
        return self.base.options["call"] == "relax"


def ours(
    code: str, call: str, members: int = 4, precision: str = "", kind: str = "moments"
) -> Variant:
    """A variant of this program; no precision: the only one that the function knows."""
    what = f"{kind}, {precision or 'float64'}"
    return Variant(code, members, what, {"call": call, "precision": precision, "kind": kind})


def module(peer: str) -> ModuleType:
    """The file of a peer."""
    return importlib.import_module(f"peers.{peer}")


def jobs(
    names: Sequence[str], systems: Sequence[str], kinds: Sequence[str], precise: Sequence[str]
) -> Iterator[Job]:
    """All rows, base rows first.

    Args:
        names: what to time: "ours", "relax" and peers.
        systems: test systems.
        kinds: descriptor kinds that this program has.
        precise: its functions that can choose their precision.
    """
    single = "float32" if "predict" in precise else ""
    base = ours("ours", "predict", precision=single)
    for system in systems:
        yield Job("ours", base, base, system)
        if system == THREADED:
            yield Job("ours", base, base, system, threads=2)
            continue
        if "ours" in names:
            yield from _own(base, system, kinds, precise)
        for peer in names:
            if peer in PEERS and peer != "torch_sim":
                for variant in module(peer).VARIANTS:
                    yield Job(peer, variant, base, system)
    if {"relax", "torch_sim"} & set(names):
        yield from _relaxations(precise, torch_sim="torch_sim" in names)


def _own(base: Variant, system: str, kinds: Sequence[str], precise: Sequence[str]) -> Iterator[Job]:
    """Other numbers of members, precisions, descriptors and interfaces."""
    precisions = ("float32", "float64") if "predict" in precise else ("",)
    variants = [
        ours("ours", "predict", members, precision)
        for precision in precisions
        for members in (1, 4, 8)
    ]
    if "acsf" in kinds:
        variants += [
            ours("ours, exact G4", "predict", 4, precision, "acsf") for precision in precisions
        ]
    if not system.endswith("x32"):
        choice = "float32" if "calculator" in precise else ""
        variants += [
            ours("ours, ASE calculate", "calculate", 4, choice),
            ours("ours, ASE getters", "getters", 4, choice),
        ]
    for variant in variants:
        if variant != base:
            yield Job("ours", variant, base, system)


def _relaxations(precise: Sequence[str], *, torch_sim: bool) -> Iterator[Job]:
    choices = ("float32", "float64") if "relax" in precise else ("",)
    base = ours("ours", "relax", precision=choices[0])
    yield Job("ours", base, base, RELAXED)
    for choice in choices[1:]:
        yield Job("ours", ours("ours", "relax", precision=choice), base, RELAXED)
    yield Job("ours", base, base, RELAXED, threads=2)
    single = "float32" if "calculator" in precise else ""
    fire = ours("ASE FIRE + UnitCellFilter", "ase_fire", precision=single)
    yield Job("ours", fire, base, RELAXED)
    if torch_sim:
        choice = {"precision": "float32" if "predict" in precise else ""}
        for variant in module("torch_sim").VARIANTS:
            made = replace(variant, options=variant.options | choice)
            yield Job("torch_sim", made, base, RELAXED)
