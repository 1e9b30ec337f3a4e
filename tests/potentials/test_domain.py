"""What is like the data is inside; what is not, as atoms or as a whole, is outside."""

import numpy as np
import pytest
import torch

from potentials.domain import (
    FOLDS,
    LEAST_MARGIN,
    MOST_MARGIN,
    domain_of,
    extrapolation,
    ranges,
    squashed,
)
from potentials.scaling import scaling_of

COUNT, SIZE, WIDTH = 400, 8, 6


def sample(count, seed, middle=1.0, elements=1):
    """Structures whose atoms scatter about one vector each, and these about ``middle``."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    whole = middle * torch.exp(0.1 * noise(count, 1, WIDTH))
    values = (whole * torch.exp(0.5 * noise(count, SIZE, WIDTH))).reshape(-1, WIDTH)
    species = torch.arange(len(values)) % elements
    return values, species, torch.arange(count).repeat_interleave(SIZE)


def known_of(values, species, count, folds=None):
    elements = int(species.max()) + 1
    folds = torch.arange(count) % FOLDS if folds is None else folds
    scaling = scaling_of(values, species, elements)
    scaled = scaling.apply(values, species)
    own = [scaled[species == e] for e in range(elements)]
    ends = [torch.stack([v.amin(dim=0) for v in own]), torch.stack([v.amax(dim=0) for v in own])]
    domain = domain_of(values, species, [SIZE] * count, folds, elements)
    return ranges(torch.stack(ends), scaling, domain)


@pytest.fixture(scope="module")
def known():
    values, species, _ = sample(COUNT, 0, elements=2)
    return known_of(values, species, COUNT)


def test_the_data_themselves_are_inside(known):
    values, species, system = sample(COUNT, 0, elements=2)
    assert (extrapolation(values, species, system, COUNT, known) < 0.0).all()


def test_hardly_anything_that_is_like_the_data_is_outside(known):
    values, species, system = sample(4 * COUNT, 1, elements=2)
    found = extrapolation(values, species, system, 4 * COUNT, known)
    assert 0.0 < float((found > 0.0).double().mean()) < 0.04


def test_one_strange_atom_is_enough(known):
    values, species, system = sample(1, 2, elements=2)
    values[3, 2] *= 1000.0
    assert float(extrapolation(values, species, system, 1, known)) > 0.0


def test_a_whole_can_be_outside_though_no_atom_is(known):
    """Every descriptor is half of what it was: single atoms of the data are smaller than that."""
    values, species, system = sample(COUNT, 3, middle=0.5, elements=2)
    alone = known._replace(mean_low=known.mean_low - 9.0)
    atoms_only = extrapolation(values, species, system, COUNT, alone)
    assert float((atoms_only > 0.0).double().mean()) < 0.2
    found = extrapolation(values, species, system, COUNT, known)
    assert float((found > 0.0).double().mean()) > 0.7


def test_a_structure_does_not_depend_on_what_is_asked_with_it(known):
    values, species, system = sample(5, 4, elements=2)
    together = extrapolation(values, species, system, 5, known)
    for m in range(5):
        own = system == m
        alone = extrapolation(values[own], species[own], system[own] * 0, 1, known)
        torch.testing.assert_close(alone[0], together[m], rtol=1e-12, atol=0.0)


def test_the_order_of_squashed_numbers_is_theirs():
    values = torch.tensor([-3.0, -0.1, 0.0, 0.2, 1e30]).double()
    assert (squashed(values, torch.tensor(0.5)).diff() > 0.0).all()
    assert squashed(values, torch.tensor(0.5)).abs().max() <= 1.0


def test_margins_follow_the_structures_that_were_left_out():
    """By hand: a fold reaches beyond the others by so much of their range."""
    reach = torch.tensor([0.0, 1.0, 0.1, 0.9, 0.5, 0.0, 1.0, 0.2, 0.8, 1.25]).double()
    values = (reach / (2.0 - reach))[:, None]  # so that squashed numbers are evenly spaced
    sizes, folds = [1] * 10, torch.arange(10) // 2
    found = domain_of(values, torch.zeros(10, dtype=torch.long), sizes, folds, 1)
    inside = squashed(values, found.middle)[:, 0]
    low, high = inside[:8].min(), inside[:8].max()
    farthest = float((inside[9] - high) / (high - low))
    others = np.sort([float(_left(inside, folds, place)) for place in range(10)])
    expected = float(np.quantile(others, 0.99))
    assert others[-1] == pytest.approx(farthest)
    assert found.margins == pytest.approx((expected, expected))


def _left(inside, folds, place):
    rest = inside[folds != folds[place]]
    low, high = rest.min(), rest.max()
    return torch.maximum(low - inside[place], inside[place] - high) / (high - low)


def test_too_few_folds_leave_the_smallest_margin():
    values, species, _ = sample(20, 5)
    known = known_of(values, species, 20, folds=torch.zeros(20, dtype=torch.long))
    assert known.margins == (LEAST_MARGIN, LEAST_MARGIN)


def test_margins_have_a_limit():
    values, species, _ = sample(6, 6)
    values[::SIZE] *= torch.logspace(-6, 6, 6).double()[:, None]
    known = known_of(values, species, 6)
    assert all(LEAST_MARGIN <= margin <= MOST_MARGIN for margin in known.margins)


def test_an_element_without_labels_is_outside_everywhere():
    values, species, _ = sample(20, 7)
    domain = domain_of(values, species, [SIZE] * 20, torch.arange(20) % FOLDS, 2)
    scaling = scaling_of(torch.cat([values, values]), torch.cat([species, species + 1]), 2)
    known = ranges(torch.zeros(2, 2, WIDTH).double(), scaling, domain)
    system = torch.zeros(SIZE, dtype=torch.long)
    assert float(extrapolation(values[:SIZE], species[:SIZE] + 1, system, 1, known)) > 1.0


def test_without_a_domain_only_ranges_of_atoms_count():
    values, species, system = sample(COUNT, 8)
    scaling = scaling_of(values, species, 1)
    scaled = scaling.apply(values, species)
    ends = torch.stack([scaled.amin(dim=0)[None], scaled.amax(dim=0)[None]])
    known = ranges(ends, scaling, None)
    low = values.amin(dim=0).expand(SIZE, -1)
    zero = torch.zeros(SIZE, dtype=torch.long)
    assert float(extrapolation(low, zero, zero, 1, known)) < 0.0
    assert float(extrapolation(low * 0.9, zero, zero, 1, known)) > 0.0
    assert (extrapolation(values, species, system, COUNT, known) < 0.0).all()
