"""What a campaign searches, and what its structures are measured from: from settings and labels."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from aga.config import CampaignConfig
from aga.search.candidate import Candidate, Known
from aga.search.compositions import Counts, named, parsed, reduced
from aga.search.hull import Hull, Phase
from aga.search.ions import packed_volume
from aga.search.space import Dimension, Space, Spaces, covalent_distances
from aga.search.volumes import mixture_volume

#: of the volume by the elements: anions that were packed more closely would have no room between
_DENSEST = 0.75


def space_of(
    config: CampaignConfig, volume_per_atom: float = 0.0, counts: Counts | None = None
) -> Space:
    """The space of one composition.

    Args:
        config: settings of the campaign.
        volume_per_atom: [Å^3]; 0 for a guess by the elements.
        counts: atoms by symbol; the first composition that is searched if None.
    """
    composition = counts or config.cells[0]
    return Space(
        composition=composition,
        volume_per_atom=config.search.volume_per_atom or volume_per_atom,
        volumes=() if config.search.volume_per_atom else _dense(composition),
        pressure=config.pressure,
        spacegroups=config.search.groups(),
        min_distance=covalent_distances(tuple(config.elements), config.search.min_distance_factor),
        dimension=config.dimension,
    )


def _dense(composition: Counts) -> tuple[float, ...]:
    """The volume of the dense forms of oxides and salts [Å^3/atom], where it can be told.

    What is labelled says at which volume to search: in Al2O3 open forms at 12.7 Å^3/atom, and no
    random crystal was as dense as corundum, 8.8. Large cations push anions apart: what is far below
    the guess by the elements (CsCl) is no volume of theirs.
    """
    packed = packed_volume(composition)
    return (packed,) if packed > _DENSEST * mixture_volume(composition) else ()


def scaled_space(config: CampaignConfig, scale: float, counts: Counts) -> Space:
    """The space of one of several compositions; ``scale`` times the volume by the elements."""
    return space_of(config, scale * mixture_volume(counts), counts)


def spaces_of(
    config: CampaignConfig, inputs: Mapping[str, Any], hull: Hull | None = None
) -> Spaces:
    """All spaces of a search as a task's inputs say; ``hull`` is where structures stand."""
    if config.compositions is None:
        return Spaces([space_of(config, inputs["volume_per_atom"])])
    scale, shares = inputs["volume_scale"], inputs["chances"]
    members = [scaled_space(config, scale, counts) for counts in config.cells]
    chances = [shares[space.name] for space in members]
    # end members are relaxed, but nothing is proposed for them
    ends = [end for end in config.compositions.ends if end not in config.cells]
    members += [scaled_space(config, scale, end) for end in ends]
    return Spaces(members, [*chances, *(0.0 for _ in ends)], hull)


def hull_of(config: CampaignConfig, known: Iterable[Known]) -> Hull | None:
    """The hull of the labels and the user's references; None where one composition is searched."""
    if config.compositions is None:
        return None
    lowest: dict[str, Known] = {}
    for one in sorted(known, key=lambda one: (one.enthalpy, one.id)):
        lowest.setdefault(one.formula, one)
    phases = [Phase(one.id, one.counts, one.enthalpy) for one in lowest.values()]
    phases += config.compositions.phases
    return Hull(phases) if phases else None


def stand(structures: Iterable[Known | Candidate], hull: Hull | None) -> None:
    """Measure structures from the hull, if there is one."""
    if hull is not None:
        for one in structures:
            one.stand_on(hull.ground(one.counts))


def missing_ends(config: CampaignConfig, known: Iterable[Known]) -> list[dict[str, int]]:
    """End members of the hull of which nothing is labelled yet."""
    if config.compositions is None:
        return []
    have = {one.formula for one in known}
    return [end for end in config.compositions.ends if named(reduced(end)) not in have]


@lru_cache(maxsize=4096)
def plain_space(name: str, dimension: Dimension) -> Space:
    """The space of a composition by its name, by defaults: to ask what operators apply."""
    return Space(parsed(name), dimension=dimension)
