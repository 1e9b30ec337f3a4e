"""The labelled structures, and which of them a crystal is near to."""

import numpy as np
import pytest

from aga.search import seeds
from aga.search.archive import Archive
from aga.search.candidate import Known
from aga.search.similarity import distance
from aga.search.space import Space

CRYSTALS = seeds.many(Space({"Au": 2, "Cu": 2}, spacegroups=(1, 2)), 8, np.random.default_rng(0))


def known(index: int, name: str = "", shake: float = 0.0) -> Known:
    atoms = CRYSTALS[index].copy()
    atoms.rattle(shake, rng=np.random.default_rng(index))
    return Known(name or f"k{index}", atoms, 0.1 * index, 0.0)


def test_it_is_the_sequence_of_its_labels():
    labels = [known(index) for index in range(5)]
    archive = Archive(labels)
    assert (len(archive), [*archive], archive[-1], archive[1:3]) == (
        5,
        labels,
        labels[-1],
        labels[1:3],
    )
    assert labels[2] in archive
    assert Archive.of(archive) is archive
    assert [*Archive.of(labels)] == labels


def test_what_is_added_after_a_question_is_found():
    archive = Archive([known(0), known(1)])
    twin = known(2, "twin", shake=0.01)
    far = archive.distance(twin)
    assert archive.within(twin) == []
    assert far == pytest.approx(
        min(distance(known(i).fingerprint, twin.fingerprint) for i in (0, 1))
    )
    archive.add(known(2))
    assert [one.id for one in archive.within(twin)] == ["k2"]
    assert archive.distance(twin) < far


def test_distances_of_many_are_those_of_each_and_follow_what_is_new():
    archive = Archive([known(0), known(1)])
    gold = known(4, "gold")
    gold.atoms.numbers[:] = 79
    asked = [known(2, "twin", shake=0.1), known(3), gold]
    assert archive.distances(asked) == pytest.approx([archive.distance(one) for one in asked])
    assert archive.distances(asked[2:]) == [2.0]
    for new in (known(2), known(5)):
        archive.add(new)
        afresh = Archive([*archive])
        assert archive.distances(asked) == pytest.approx([afresh.distance(one) for one in asked])
    assert archive.distances([]) == []


def test_nothing_is_near_to_an_empty_one():
    assert Archive().within(known(0)) == []
    assert Archive().distance(known(0)) == 2.0
