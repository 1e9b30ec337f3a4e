"""ASE's genetic algorithm (ase-ga) for variable cells, as its tutorial on bulk crystals sets it up.

Twenty random structures, a population of twenty, cut-and-splice, strain and soft mutations 4:3:3,
and permutations where there are two elements or more.
"""

from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers

from search.methods import ase_ga_cluster
from search.relaxation import Relaxer
from search.task import Run

POPULATION = 20
#: shortest distances of proposals over the sum of covalent radii
CLOSEST = 0.5
#: relaxations between updates of the volume that children are scaled to
UPDATE = 10


def search(run: Run) -> dict[str, Any]:
    """Relax the first structures, then children of the population until the run is over."""
    rng = np.random.RandomState(run.seed)  # it wants the methods of the old generators
    relax = Relaxer(run.system, run.ledger)
    database = _begin(run, rng)
    while database.get_number_of_unrelaxed_candidates() and not run.ledger.over:
        _relax(database, database.get_an_unrelaxed_candidate(), relax)
    if not run.ledger.over:
        _breed(run, database, relax, rng)
    return {"version": version("ase-ga")}


def _begin(run: Run, rng: Any) -> Any:
    """The database with its first random structures."""
    from ase_ga.data import DataConnection, PrepareDB
    from ase_ga.startgenerator import StartGenerator

    symbols = run.system.symbols
    volume = run.volume(run.system.composition) * len(symbols)
    if run.system.dimension == "cluster":
        slab = ase_ga_cluster.slab(volume)
        start = ase_ga_cluster.start(symbols, volume, _closest(symbols), rng)
    else:
        slab = _slab()
        start = StartGenerator(
            slab,
            symbols,
            _closest(symbols),
            box_volume=volume,
            number_of_variable_cell_vectors=3,
            cellbounds=_bounds(),
            splits={(2,): 1, (1,): 1},
            rng=rng,
        )
    path = str(run.folder / "ga.db")
    prepared = PrepareDB(
        path, simulation_cell=slab, stoichiometry=[atomic_numbers[one] for one in symbols]
    )
    for _ in range(POPULATION):
        prepared.add_unrelaxed_candidate(start.get_new_candidate())
    return DataConnection(path)


def _breed(run: Run, database: Any, relax: Relaxer, rng: Any) -> None:
    """One child after another."""
    from ase_ga.population import Population

    symbols = run.system.symbols
    if run.system.dimension == "cluster":
        volume = run.volume(run.system.composition) * len(symbols)
        comparator = ase_ga_cluster.comparator(len(symbols))
        scaled: list[Any] = []
        selector = ase_ga_cluster.operators(symbols, volume, _closest(symbols), rng)
    else:
        comparator = _comparator(len(symbols))
        scaled, selector = _operators(symbols, rng)
    population = Population(database, POPULATION, comparator=comparator, use_extinct=False, rng=rng)
    done = 0
    while not run.ledger.over:
        if done % UPDATE == 0:
            best = population.get_current_population()
            for operator in scaled:
                operator.update_scaling_volume(best, w_adapt=0.5, n_adapt=4)
        child = _child(population, selector)
        if child is None:
            continue
        database.add_unrelaxed_candidate(child, description=child.info["description"])
        _relax(database, child, relax)
        population.update()
        done += 1


def _comparator(n: int) -> Any:
    """When two crystals are the same."""
    from ase_ga.ofp_comparator import OFPComparator

    return OFPComparator(
        n_top=n,
        dE=1.0,
        cos_dist_max=1e-3,
        rcut=10.0,
        binwidth=0.05,
        pbc=[True] * 3,
        sigma=0.05,
        nsigma=4,
        recalculate=False,
    )


def _child(population: Any, selector: Any) -> Any:
    """A child with what its making was, or None where the operator made none."""
    try:
        child, description = selector.get_new_individual(population.get_two_candidates())
    except IndexError:  # the soft mutation has no mode left for this parent
        return None
    if child is not None:
        child.info["description"] = description
    return child


def _operators(symbols: list[str], rng: Any) -> tuple[list[Any], Any]:
    """Those that follow the volume of the best, and the choice among all."""
    from ase_ga.cutandsplicepairing import CutAndSplicePairing
    from ase_ga.offspring_creator import OperationSelector
    from ase_ga.soft_mutation import SoftMutation
    from ase_ga.standardmutations import PermutationMutation, StrainMutation

    closest, bounds = _closest(symbols), _bounds()
    pairing = CutAndSplicePairing(
        _slab(),
        len(symbols),
        closest,
        p1=1.0,
        p2=0.0,
        minfrac=0.15,
        number_of_variable_cell_vectors=3,
        cellbounds=bounds,
        use_tags=False,
        rng=rng,
    )
    strain = StrainMutation(
        closest, stddev=0.7, cellbounds=bounds, number_of_variable_cell_vectors=3, rng=rng
    )
    soft = SoftMutation(closest, bounds=[2.0, 5.0], use_tags=False)  # draws nothing
    weights, all_of_them = [4.0, 3.0, 3.0], [pairing, strain, soft]
    if len(set(symbols)) > 1:
        weights.append(3.0)
        all_of_them.append(PermutationMutation(len(symbols), blmin=closest, rng=rng))
    return [pairing, strain], OperationSelector(weights, all_of_them, rng=rng)


def _relax(database: Any, atoms: Any, relax: Relaxer) -> None:
    """Relax a candidate and put it where the population finds it."""
    found = relax(atoms)
    if relax.over:
        return
    atoms.set_cell(found.atoms.cell)
    atoms.set_positions(found.atoms.positions)
    atoms.wrap()
    energy = found.enthalpy * len(atoms)
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    atoms.info["key_value_pairs"]["raw_score"] = -energy
    database.add_relaxed_step(atoms)


def _slab() -> Atoms:
    return Atoms("", pbc=True)


def _closest(symbols: list[str]) -> Any:
    from ase_ga.utilities import closest_distances_generator

    return closest_distances_generator(
        sorted({atomic_numbers[symbol] for symbol in symbols}), CLOSEST
    )


def _bounds() -> Any:
    from ase_ga.utilities import CellBounds

    angles = {name: [20, 160] for name in ("phi", "chi", "psi")}
    return CellBounds(bounds={**angles, **{name: [2, 60] for name in "abc"}})
