"""How the best structures are confirmed by the engine: pure functions of the state.

The cheap way first: relax on an ensemble that is fitted sharply to what is near and made to agree
with the last label exactly, label the end, and again. Where that stalls, the engine relaxes.
"""

from ase.units import GPa

from aga.campaign.groups import Group
from aga.campaign.record import Record
from aga.campaign.state import Decision, State, label_references
from aga.search.candidate import Candidate

#: single points that a relaxation by the engine itself may take
ENGINE_POINTS = 30


def due(state: State) -> list[Decision]:
    """The next step for every structure to confirm; the end when there is none left."""
    left = state.config.budget.labels - state.asked
    answer = state.answer
    settled = all(state.confirmed(group) is not None for group in answer)
    steps = []
    for group in targets(state):
        step = _next(state, group, left)
        if step is None or (step.kind == "relax" and group not in answer and not settled):
            # where the answer itself cannot be confirmed, forces that scatter are likely to blame
            continue
        steps.append(step)
        left -= _price(step)
    if steps or state.outstanding():
        return steps
    return [Decision("finish", {"reason": _verdict(state), "failed": not state.groups})]


def targets(state: State) -> list[Group]:
    """The structures near the best, lowest first, at most as many as are asked for.

    Of several compositions all that are on the hull, however many.
    """
    settings = state.config.confirm
    ranking = state.ranking
    if not ranking:
        return []
    limit = ranking[0].best.height + settings.window_ev_per_atom
    answer = state.answer
    near = [one for one in ranking if one.best.height <= limit and one not in answer]
    return [*answer, *near][: max(settings.structures, len(answer))]


def _verdict(state: State) -> str:
    if not state.groups:
        return f"no structure was labelled ({state.search_over})"
    failed = [group for group in state.answer if state.confirmed(group) is None]
    if not failed:
        return state.search_over
    which = "the best structure"
    if state.config.compositions is not None:
        which = f"{len(failed)} of {len(state.answer)} structures on the hull"
    said = f"{state.search_over}; {which} could not be confirmed by the engine"
    first = "" if state.config.compositions is None else f"{failed[0].best.formula}: "
    return f"{said} ({first}{_missed(state, failed[0])})"


def _missed(state: State, group: Group) -> str:
    """How far from relaxed the engine finds a structure."""
    limits = state.config.confirm
    near = min(group.lowest(), key=lambda one: _distance(state, one.fmax, one.stress_error))
    asked = f"largest force {near.fmax:.3f} eV/Å of {limits.fmax_ev_per_a:g} allowed"
    if near.stress_error is None:
        return asked
    return f"{asked}, stress off by {near.stress_error / GPa:.2g} GPa of {limits.stress_gpa:g}"


def chain(state: State, group: Group) -> list[Record]:
    """The confirmation's own tasks for one structure, in their order."""
    return [*state.chains.get(group.id, ())]


def _price(step: Decision) -> int:
    """Single points of a step at most."""
    return int({"label": 1, "relax": step.inputs.get("points", 0)}.get(step.kind, 0))


def _next(state: State, group: Group, left: int) -> Decision | None:
    """One more step for a structure, or None: confirmed, under way, given up or unaffordable."""
    steps = chain(state, group)
    if state.confirmed(group) is not None or any(r.progress == "queued" for r in steps):
        return None
    if left < 1 or any(r.kind == "relax" and r.ordinal >= state.resumed for r in steps):
        return None
    if steps and steps[-1].kind == "polish" and steps[-1].progress == "done":
        candidate = state.polished[group.id][-1]
        if not _labelled_already(state, candidate):
            return _label(group, candidate)
    rounds = sum(record.kind == "polish" for record in steps)
    if rounds < state.config.confirm.surrogate_steps and not _stalled(state, steps):
        return _polish(state, group, steps, rounds)
    return _relax(state, group, left)


def _labelled_already(state: State, candidate: Candidate) -> bool:
    return candidate.id in state.asked_ids


def _stalled(state: State, steps: list[Record]) -> bool:
    """Whether the last round failed, or two labels in a row did not come closer."""
    if steps and steps[-1].progress == "failed":
        return True
    labels = [
        one
        for record in steps
        if record.kind == "label"
        for one in state.labelled
        if one.ordinal == record.ordinal
    ]
    distances = [_distance(state, one.known.fmax, one.known.stress_error) for one in labels]
    return len(distances) >= 3 and min(distances[-2:]) > distances[-3]


def _distance(state: State, fmax: float, stress_error: float | None) -> float:
    """How far from relaxed, in units of the thresholds."""
    limits = state.config.confirm
    stress = 0.0 if stress_error is None else stress_error / (limits.stress_gpa * GPa)
    return max(fmax / limits.fmax_ev_per_a, stress)


def _label(group: Group, candidate: Candidate) -> Decision:
    inputs = {
        "candidate": candidate.to_dict(),
        "purpose": "confirm",
        # its spread is that of the sharp fit and says nothing about the campaign's ensemble
        "raw_spread": None,
        "chain": group.id,
    }
    return Decision("label", inputs)


def _polish(state: State, group: Group, steps: list[Record], rounds: int) -> Decision:
    best = group.best
    keys = {one.known.id: one.key for one in state.labelled}
    return Decision(
        "polish",
        {
            "chain": group.id,
            "round": rounds,
            "target": [best.id, keys[best.id]],
            "labels": label_references(state),
            # a structure may be a saddle point in the symmetry it nearly has: try once without
            "symmetrise": not _symmetry_costs(state, group, steps),
        },
    )


def _symmetry_costs(state: State, group: Group, steps: list[Record]) -> bool:
    """Whether a label of a symmetrised geometry came out above the structure's best."""
    own = {record.ordinal for record in steps if record.kind == "label"}
    labels = [one.known.enthalpy for one in state.labelled if one.ordinal in own]
    return bool(labels) and min(labels) > group.best.enthalpy + 1e-3


def _relax(state: State, group: Group, left: int) -> Decision:
    best = group.best
    key = next(one.key for one in state.labelled if one.known.id == best.id)
    inputs = {
        "chain": group.id,
        "target": [best.id, key],
        "purpose": "confirm",
        "points": min(ENGINE_POINTS, left),
    }
    return Decision("relax", inputs)
