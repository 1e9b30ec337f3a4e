"""What a campaign begins with: the user's structures, end members of the hull, random crystals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from numpy.random import Generator

from aga.campaign.spaces import scaled_space, space_of
from aga.config import END_LABELS, CampaignConfig
from aga.search import seeds
from aga.search.compositions import counts_of, parsed
from aga.search.space import Space, tidied
from aga.structure_files import read_structures
from aga.yaml_source import ConfigError
from calculators.labelling import label_key
from calculators.outcome import Failure

Inputs = Mapping[str, Any]


def given(config: CampaignConfig, inputs: Inputs) -> list[Atoms] | Failure:
    """The user's structures, each once."""
    found: dict[str, Atoms] = {}
    for name in config.search.structures:
        try:
            read = read_structures(Path(name))
        except ConfigError as error:
            return Failure("permanent", f"cannot be searched from: {error}")
        for one in read:
            problem = _other_dimension(config, one)
            atoms = one if problem else tidied(one)
            problem = problem or _problem(config, inputs, atoms)
            if problem:
                return Failure("permanent", f"{name}: cannot be searched from: {problem}")
            found.setdefault(label_key(atoms, config.engine), atoms)
    return list(found.values())


def _other_dimension(config: CampaignConfig, atoms: Atoms) -> str:
    if config.dimension == "cluster":
        return "periodic, which a cluster is not" if atoms.pbc.any() else ""
    return "" if atoms.pbc.all() else "not periodic in three axes"


def _problem(config: CampaignConfig, inputs: Inputs, atoms: Atoms) -> str:
    """Why a structure is none of the search; of several compositions any of the elements will do.

    What the user gives may be an end member of the hull, or a cell larger than those searched.
    """
    if config.compositions is None:
        return space_of(config, inputs["volume_per_atom"]).feasible(atoms)
    foreign = sorted(set(atoms.symbols) - set(config.elements))
    if foreign:
        return f"{foreign[0]} is none of the elements {', '.join(config.elements)}"
    return scaled_space(config, inputs["volume_scale"], counts_of(atoms)).feasible(atoms)


def crystals(config: CampaignConfig, inputs: Inputs, n: int, rng: Generator) -> list[Atoms]:
    """Random structures of the composition, or of all that are searched in turn."""
    if config.compositions is None:
        return seeds.many(space_of(config, inputs["volume_per_atom"]), n, rng)
    scale = inputs["volume_scale"]
    return in_turn([scaled_space(config, scale, one) for one in config.cells], n, rng)


def in_turn(spaces: Sequence[Space], n: int, rng: Generator) -> list[Atoms]:
    """``n`` random crystals, the compositions in random order until all have had a turn.

    Raises:
        ValueError: none of the compositions gives a crystal; the message is that of the last.
    """
    order = rng.permutation(len(spaces)).tolist()
    found: list[Atoms] = []
    while len(found) < n:
        place = order.pop(0)
        try:
            found.append(seeds.random_crystal(spaces[place], rng))
        except ValueError:
            if not order:
                raise
        else:
            order.append(place)
    return found


def end_members(config: CampaignConfig, inputs: Inputs, rng: Generator) -> list[Atoms]:
    """What is labelled of the end members that a task names: simple crystals, or random ones.

    Elements begin with their prototypes; where no label came of these, and of compounds, random
    crystals are labelled.
    """
    found: list[Atoms] = []
    for name in inputs.get("ends", ()):
        space = scaled_space(config, inputs["volume_scale"], parsed(name))
        if inputs["first"] and len(space.symbols) == 1:
            found += seeds.prototypes(space)
        else:
            found += seeds.many(space, END_LABELS, rng)
    return found
