"""Pictures: every origin of structures is drawn in a way of its own, the same everywhere."""

import pytest

from aga.report import plots
from aga.report.drawing import looks, style
from tests.report.conftest import Campaign, loose

ORIGINS = [f"origin_{number:02d}" for number in range(19)]


@pytest.fixture
def state(tmp_path):
    """A campaign whose labels come from many operators."""
    made = Campaign(tmp_path / "run")
    made.label("s", loose(0), purpose="seed")
    made.train(10.0)
    made.evolve()
    made.evolve()
    for number, origin in enumerate(ORIGINS):
        made.label(f"e{number}", loose(number), predicted=1.0, spread=0.1, origin=origin)
    yield made.store.state()
    made.close_store()


def look(line):
    """What a reader sees of a line and its dots."""
    return line.get_color(), line.get_fillstyle(), line.get_linestyle()


def test_up_to_27_names_look_different():
    names = [f"n{number}" for number in range(27)]
    found = looks(names)
    assert len({(one.color, one.fillstyle) for one in found.values()}) == 27
    assert len({(one.color, one.linestyle) for one in found.values()}) == 27
    assert looks(reversed(names)) == found


def test_no_two_origins_of_labels_look_the_same(state):
    with style():
        (legend,) = plots.convergence(state).legends
    handles = [one for one in legend.legend_handles if one.get_label().startswith("origin")]
    assert len(handles) == len(ORIGINS)
    assert len({look(handle) for handle in handles}) == len(ORIGINS)


def test_an_operator_has_one_colour_in_all_pictures(state):
    with style():
        labels, shares = plots.convergence(state), plots.operators(state)
    lines = {line.get_label(): line for line in shares.axes[0].lines}
    dots = {one.get_label(): one for one in labels.legends[0].legend_handles}
    name = "symmetric random"
    assert look(lines[name])[:2] == look(dots[name])[:2]
    assert look(lines["permute"]) != look(lines[name])
