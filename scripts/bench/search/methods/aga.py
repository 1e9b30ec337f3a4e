"""This program: the real campaign with its defaults, labelled in this process.

The campaign's file names composition, engine, pressure and seed, and what it may spend; no key is
tuned to a system. Generations are strict (`overlap: false`) on the serial cluster, and what its
child processes would compute is computed here, because loading a model a hundred times would
measure nothing but that.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from search import origins
from search.oracle import Counting, OracleError
from search.system import SystemFileError
from search.task import Run

#: hours that a campaign may take: the budget of calls is what ends it
HOURS = 1000.0


class _OverError(Exception):
    """The run is over; the campaign is not."""


def search(run: Run) -> dict[str, Any]:
    """Run a campaign to the first hit, or to its own end."""
    import torch

    from aga.campaign import loop, tasks
    from aga.campaign.store import Store
    from aga.config import resolved
    from calculators.pools import Pools
    from calculators.publish import publish_json

    torch.set_num_threads(1)
    config = campaign(run)
    folder = run.folder / "campaign"
    folder.mkdir()
    publish_json(folder / tasks.CONFIG, resolved(config))
    store = Store(folder, config)
    oracle = Counting.of(run.system, run.ledger)
    try:
        with labels_here(oracle), Pools(config.cluster, partial(tasks.run, str(folder))) as pools:
            loop.run(store, pools, partial(_watch, run))
    except _OverError:
        pass
    finally:
        state = store.state()
        store.close()
    return _told(run, state)


def campaign(run: Run) -> Any:
    """The settings: what every campaign file must say, and nothing else.

    Raises:
        SystemFileError: a campaign cannot have these, such as a budget below the first labels.
    """
    from pydantic import ValidationError

    from aga.config import CampaignConfig

    system = run.system
    data = {
        "name": "bench",
        **_compositions(run),
        "dimension": system.dimension,
        "pressure_gpa": system.pressure_gpa,
        "seed": run.seed,
        "engine": {"kind": "ase", **system.oracle},
        "cluster": {"kind": "serial"},
        "overlap": False,
        "budget": {"labels": run.ledger.budget, "hours": HOURS},
    }
    for key, value in run.settings.items():
        _put(data, key.split("."), value)
    try:
        return CampaignConfig.model_validate(data)
    except ValidationError as error:
        reasons = "; ".join(str(one["msg"]) for one in error.errors())
        raise SystemFileError(f"{system.name}, --budget {run.ledger.budget}: {reasons}") from error


def _compositions(run: Run) -> dict[str, Any]:
    """What is searched; with a hull the enthalpies of the elements, which all methods are given."""
    if run.system.compositions is None:
        return {"composition": run.system.composition}
    given = [
        {"formula": symbol, "enthalpy_ev_per_atom": value}
        for symbol, value in run.ledger.judge.elements.items()
    ]
    return {"compositions": {**run.system.compositions, "references": given}}


def _put(data: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value in nested sections."""
    for name in path[:-1]:
        data = data.setdefault(name, {})
    data[path[-1]] = value


def _watch(run: Run, *_: Any) -> None:
    """Asked after every turn of the campaign's loop."""
    if run.ledger.over and not run.whole:
        raise _OverError


@contextmanager
def labels_here(oracle: Counting) -> Iterator[None]:
    """Compute single points and relaxations in this process with ``oracle``."""
    with patch("calculators.labelling.climb", partial(_in_process, oracle)):
        yield


def _in_process(
    oracle: Counting,
    engine: Any,
    folder: Path,
    job: dict[str, Any],
    points: int,
    should_stop: Callable[[], bool],
    progress: Callable[[], int],
) -> tuple[Any, list[dict[str, Any]]]:
    """What `calculators.attempt.climb` has done by a child process, without one."""
    del points, should_stop, progress
    from calculators.attempt import Ended
    from calculators.outcome import Failure
    from calculators.single_point import RefusedError

    try:
        return Ended(_answer(oracle, engine, folder, job), None, "no"), []
    except (OracleError, RefusedError, ValueError) as error:
        return Ended(None, Failure("permanent", str(error)), "no"), []


def _answer(oracle: Counting, engine: Any, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    from calculators.engine_relaxation import Recorded, relax
    from calculators.gates import LabelGates
    from calculators.single_point import calculate
    from potentials.structures import atoms_from_dict

    atoms, gates = atoms_from_dict(job["atoms"]), LabelGates.from_dict(job["gates"])
    if job["mode"] == "label":
        return {"label": calculate(atoms, oracle, engine, gates).to_dict()}
    oracle.ledger.relaxation()
    recorded = Recorded(oracle, engine, Path(job["store"]), gates, engine, folder)
    return {"relaxation": relax(atoms, recorded, folder, **job["target"])}


def _told(run: Run, state: Any) -> dict[str, Any]:
    """What the campaign itself says of its end."""
    from aga.report.holes import holes, price

    found = holes(state)
    told: dict[str, Any] = {
        "labels": len(state.labelled),
        "refused": len(state.failures),
        "generations": len(state.generations),
        "holes": len(found),
        "hole_labels": price(found),
        "found_by": _origin(state, run.folder / "campaign" / "proposals", run.ledger.spent().found),
        "reason": state.finished,
    }
    if state.finished and state.groups:
        asked = sum(one.purpose != "confirm" for one in state.labelled) + len(state.failures)
        told["by_rule"] = asked < state.config.budget.labels - state.config.budget.confirm_reserve
        told |= _final(run, state)
    return told


def _origin(state: Any, proposals: Path, call: int | None) -> str | None:
    """The operator that made the structure of a call; None without a call."""
    if call is None:
        return None
    # a relaxation by the engine is many calls of one task, in their order
    asked = [(one.ordinal, one.known.id) for one in state.labelled]
    asked += [(one.ordinal, state.asked_for(one).id) for one in state.failures]
    identity = sorted(asked, key=lambda pair: pair[0])[call - 1][1]
    return origins.origin(identity, origins.made(proposals))


def _final(run: Run, state: Any) -> dict[str, Any]:
    """What its answer is: the lowest structure, or those on the hull."""
    best = [group.best for group in state.answer]
    verdict, above = run.ledger.judge.final([(one.atoms, one.enthalpy) for one in best])
    return {
        "final_found": bool(verdict.found),
        "final_energy": bool(verdict.energy),
        "final_above_mev": round(1e3 * above, 3),
        "confirmed": all(state.confirmed(group) is not None for group in state.answer),
    }
