"""Structures that the potential liked and the engine hated: which count, and what they cost."""

import numpy as np
import pytest
from ase.build import bulk

from aga.campaign.state import Labelled, State
from aga.report import holes
from aga.report.html import write_report
from aga.report.status import status_json
from aga.search.candidate import Known
from potentials.structures import Label
from tests.report.conftest import RELAXED, config, fcc, loose


class Labels:
    """A state of labels alone."""

    def __init__(self):
        self.state = State(config())

    def add(self, atoms, computed, predicted=None, spread=0.01, *, purpose="search", home=""):
        """A label of a structure [eV/atom]."""
        name = f"l{len(self.state.labelled)}"
        n = len(atoms)
        known = Known(name, atoms, computed, 2.0)
        label = Label(n * computed, np.zeros((n, 3)), np.zeros(6), "emt", 0.1)
        one = Labelled(known, label, name, purpose, "rattle", predicted, spread, spread, len(name))
        self.state.labelled.append(one)
        self.state.known.add(known)
        self.state.groups.put(home or name, known)
        return self

    def ids(self):
        """Of the labels of each hole."""
        return [[one.known.id for one in hole.labels] for hole in holes.holes(self.state)]


@pytest.fixture
def labels():
    return Labels().add(fcc(), 0.0)


def test_a_structure_predicted_low_and_found_high_is_a_hole(labels):
    labels.add(loose(1), 0.5, predicted=-0.2)
    (hole,) = holes.holes(labels.state)
    assert [one.known.id for one in hole.labels] == ["l1"]
    assert holes.excess(hole.worst) == pytest.approx(0.7)
    assert holes.price([hole]) == 1


@pytest.mark.parametrize(
    ("computed", "predicted", "spread"),
    [
        (0.5, 0.2, 0.01),  # never liked: predicted far above the best
        (0.04, -0.05, 0.01),  # an error as every potential makes
        (0.5, 0.05, 0.16),  # the ensemble knew that it did not know
        (-0.5, 0.0, 0.01),  # better than predicted
        (0.5, None, None),  # never predicted
    ],
)
def test_what_is_no_hole(labels, computed, predicted, spread):
    labels.add(loose(1), computed, predicted, spread)
    assert labels.ids() == []
    assert holes.sentence([]) == "holes of the potential: none"


def test_only_the_search_falls_into_holes(labels):
    labels.add(loose(1), 0.5, predicted=-0.2, purpose="confirm")
    assert labels.ids() == []


def test_it_was_liked_by_the_best_of_its_time(labels):
    """What was low among the labels before counts, however low later ones are."""
    early = Labels().add(loose(1), 1.0).add(loose(2), 1.5, predicted=1.05).add(fcc(), 0.0)
    assert early.ids() == [["l1"]]
    late = labels.add(loose(1), 1.0).add(loose(2), 1.5, predicted=1.05)
    assert late.ids() == []


def test_labels_of_one_form_are_one_hole(labels):
    labels.add(loose(1), 0.5, predicted=-0.2)
    labels.add(loose(2), 2.0, predicted=-0.1)
    labels.add(loose(3), 0.6, predicted=0.0, home="l1")  # as its groups say
    nearly = loose(2)
    nearly.rattle(0.02, rng=np.random.default_rng(0))
    labels.add(nearly, 1.0, predicted=-0.1)  # as its fingerprint says
    assert labels.ids() == [["l2", "l4"], ["l1", "l3"]]  # the deepest first
    found = holes.holes(labels.state)
    assert holes.price(found) == 4
    assert holes.sentence(found) == (
        "holes of the potential: 2 structures predicted low and found high, 4 labels in all, at "
        "most 2 for one"
    )


def test_heights_are_above_the_hull():
    """A composition whose ground lies low: the same enthalpy is liked in one, not in the other."""
    low, high = Labels(), Labels()
    for ground, made in ((-1.0, low), (0.0, high)):
        made.add(fcc(), 0.0)
        made.add(bulk("Au").repeat((2, 1, 1)), 1.0, predicted=-0.95)
        made.state.labelled[-1].known.stand_on(ground)
    assert high.ids() == low.ids() == [["l1"]]
    made = Labels().add(fcc(), 0.0).add(bulk("Au"), 0.5, predicted=0.05)
    made.state.labelled[-1].known.stand_on(-1.0)
    assert made.ids() == []  # 1.05 above its ground: nobody took it for good


def test_the_reason_says_what_is_unusual(labels):
    for atoms in (fcc(0.75 * RELAXED), bulk("Cu", "sc", a=2.6), fcc(1.02 * RELAXED)):
        labels.add(atoms, 0.5, predicted=0.0)
    assert {hole.worst.known.id: hole.reason for hole in holes.holes(labels.state)} == {
        "l1": "Cu-Cu only 1.90 Å apart, volume 58 % smaller than the best's",
        "l2": "volume 52 % larger than the best's",
        "l3": "forces up to 2.0 eV/Å",
    }


def test_reports_count_them(campaign):
    """The same two numbers everywhere."""
    assert status_json(campaign.store.run_dir)["holes"] == 0
    campaign.label("e7", loose(5), predicted=-0.1, spread=0.01)
    told = status_json(campaign.store.run_dir)
    assert (told["holes"], told["hole_labels"]) == (1, 1)
    page = write_report(campaign.store.run_dir).read_text()
    assert "1 structure predicted low and found high, 1 label in all" in page
    assert '<td class="text">e7</td>' in page
