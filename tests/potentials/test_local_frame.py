"""The local frame equals plain loops over the printed formulas; its jumps are where it says."""

import itertools

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from potentials.batch import make_batch
from potentials.descriptors import build, warn_of_jumps
from potentials.training import fit
from tests.crystals import quick_spec, random_crystal
from tests.tolerances import DIFFERENCE, ROUNDING, ROUNDING_ABS, STEP

CUTOFF = 4.0
ELEMENTS = (29, 79)
ZERO = torch.zeros(8, dtype=torch.int64)


def descriptor(**more):
    return build({"kind": "local_frame", "cutoff": CUTOFF} | more)


def single(vectors, neighbour=None, **more):
    """Components of one atom with these neighbours."""
    vectors = torch.as_tensor(np.array(vectors, dtype=float))
    count = len(vectors)
    neighbour = ZERO[:count] if neighbour is None else torch.tensor(neighbour)
    n_elements = 1 + int(neighbour.max())
    return descriptor(**more).values(vectors, ZERO[:count], neighbour, ZERO[:1], n_elements)[0]


def explicit(made, atoms):
    """Every atom by loops over images, in the words of the paper."""
    index = [ELEMENTS.index(z) for z in atoms.numbers]
    found = []
    for place in atoms.positions:
        near = []
        for element, other in zip(index, atoms.positions, strict=True):
            for shift in itertools.product(range(-3, 4), repeat=3):
                vector = other + np.array(shift) @ atoms.cell.array - place
                if 1e-9 < np.linalg.norm(vector) < CUTOFF:
                    near.append((np.linalg.norm(vector), element, vector))
        near.sort(key=lambda entry: entry[0])
        a, b = near[0][2], near[1][2]
        e1 = a / np.linalg.norm(a)
        e2 = b - (b @ e1) * e1
        e2 /= np.linalg.norm(e2)
        e3 = np.cross(a, b) / np.linalg.norm(np.cross(a, b))
        row = []
        for element in range(2):
            own = [(r, vector) for r, e, vector in near if e == element]
            for r, vector in own[: made.nearest]:
                row += [1 / r, *(np.array([e1, e2, e3]) @ vector / r**2)]
            row += [0.0] * 4 * (made.nearest - len(own[: made.nearest]))
            further = [1 / r for r, _ in own[made.nearest :][: made.radial]]
            row += further + [0.0] * (made.radial - len(further))
        found.append(row)
    return np.array(found)


@pytest.mark.parametrize(
    ("nearest", "radial"), [(12, 24), (2, 3), (0, 5), (4, 0)], ids=["all", "few", "radial", "full"]
)
def test_values_equal_loops_over_the_printed_formulas(nearest, radial):
    made = descriptor(nearest=nearest, radial=radial)
    rng = np.random.default_rng(2)
    atoms = random_crystal(
        rng, ["Cu", "Au", "Cu", "Au", "Cu"], volume=25.0, skew=0.2, min_distance=2.2
    )
    batch = make_batch([atoms], ELEMENTS, CUTOFF)
    pairs = batch.pairs
    found = made.values(batch.vectors(), pairs.first, batch.species[pairs.second], batch.species, 2)
    np.testing.assert_allclose(found, explicit(made, atoms), rtol=ROUNDING, atol=ROUNDING_ABS)


def test_the_frame_is_that_of_the_two_nearest():
    """a along x, b in the upper half of the xy plane, the third where it then stands."""
    found = single([[0, 0, 2.0], [0, 2.5, 1.0], [3.0, 0, 0]], nearest=3, radial=0)
    rows = found.reshape(3, 4).numpy()
    b = 2.5**2 + 1.0
    np.testing.assert_allclose(rows[0], [0.5, 0.5, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rows[1], [b**-0.5, 1.0 / b, 2.5 / b, 0], atol=1e-12)
    # a x b points along -x
    np.testing.assert_allclose(rows[2], [1 / 3, 0, 0, -1 / 3], atol=1e-12)


def test_a_neighbour_in_line_is_passed_over_as_second_axis():
    found = single([[0, 0, 2.0], [0, 0, -2.2], [0, 2.5, 0]], nearest=3, radial=0)
    rows = found.reshape(3, 4).numpy()
    np.testing.assert_allclose(rows[1], [1 / 2.2, -1 / 2.2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rows[2], [0.4, 0, 0.4, 0], atol=1e-12)


def test_a_mirror_image_turns_one_component_round():
    vectors = np.array([[0, 0, 2.0], [0, 2.5, 1.0], [3.0, 0.3, 0.2]])
    one = single(vectors, nearest=3, radial=0).reshape(3, 4)
    other = single(vectors * [-1, 1, 1], nearest=3, radial=0).reshape(3, 4)
    assert torch.allclose(one[:, :3], other[:, :3])
    assert torch.allclose(one[:, 3], -other[:, 3])
    assert one[2, 3].abs() > 0.1


def test_equal_distances_are_ordered_by_direction_whatever_the_order():
    """An image and its opposite, in a frame that others fix."""
    vectors = [[0, 0, 2.0], [0, 2.5, 1.0], [3.0, 1.0, 0], [-3.0, -1.0, 0]]
    found = [single([vectors[i] for i in order]) for order in itertools.permutations(range(4))]
    assert all(torch.allclose(found[0], other) for other in found[1:])


@pytest.mark.parametrize(
    "others",
    [[[2.0, 0, 0], [0, 0.5, 3.0]], [[0, 1.0, 0], [1.5, 0, 0], [0, -1.2, 1.6]]],
    ids=["axis", "rank"],
)
def test_values_jump_where_neighbours_exchange_places(others):
    """The documented flaw, so that nobody takes it for continuous: 2 Å is where they meet."""
    steps = (-0.0225, -0.0226, -0.0227)
    far, middle, near = (single([[0, 0.3, 2.0 + step], *others]) for step in steps)
    assert (far - middle).abs().max() < 1e-3
    assert (middle - near).abs().max() > 0.1


def test_values_jump_where_a_neighbour_enters():
    vectors = [[2.0, 0, 0], [0, 2.2, 0]]
    entered = single([*vectors, [0, 0, CUTOFF - 1e-6]]) - single(vectors)
    assert entered.abs().max() == pytest.approx(1 / CUTOFF, rel=1e-5)
    assert not descriptor().continuous


def test_whoever_follows_its_energies_is_warned(caplog):
    warn_of_jumps(descriptor(), "relaxation")
    assert "relaxation on the descriptor local_frame: its energies jump" in caplog.text
    caplog.clear()
    warn_of_jumps(build({"kind": "moments"}), "relaxation")
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"nearest": 0, "radial": 0}, "both 0; give at least one"),
        ({"nearest": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(ValidationError, match=says):
        descriptor(**wrong)


def test_it_is_trained_and_evaluated_like_any_fixed_kind(frames):
    """Forces are derivatives of the energy wherever nothing changes places."""
    spec = quick_spec(
        descriptor={"kind": "local_frame", "cutoff": CUTOFF, "nearest": 3, "radial": 4},
        network={"enabled": False},
        linear={"components": 0},
    )
    ensemble = fit(spec, frames, np.random.default_rng(0))
    atoms = random_crystal(
        np.random.default_rng(2), ["Cu", "Au", "Cu", "Au"], volume=25.0, skew=0.2, min_distance=2.2
    )
    forward, backward = atoms.copy(), atoms.copy()
    forward.positions[1, 0] += STEP
    backward.positions[1, 0] -= STEP
    found = ensemble.predict([atoms, forward, backward])
    slope = float(found.energy[1] - found.energy[2]) / (2 * STEP)
    assert abs(slope) > 1e-3
    assert abs(float(found.forces[1, 0]) + slope) < DIFFERENCE * max(1.0, abs(slope))
