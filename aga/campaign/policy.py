"""Which work is due: pure functions of the state.

Start, resume and restart after a crash are one path, because nothing but the records is asked.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aga.campaign import confirmation
from aga.campaign.feeding import batch_size, label_room, running_out
from aga.campaign.spaces import missing_ends, plain_space
from aga.campaign.state import Decision, Generation, State, label_references
from aga.campaign.stopping import (
    SEED_TRIES,
    audit,
    doubtful,
    dry,
    picked,
    rivals,
    searched,
    settled,
    thorough,
    unlabelled,
    why_stop,
)
from aga.search import operators
from aga.search.adaptation import weights
from aga.search.aims import chances
from aga.search.candidate import Candidate, Known
from aga.search.compositions import named, reduced
from aga.search.volumes import mixture_volume
from calculators.task import Pool

#: random structures that an ensemble is shown at a time when it trusts nothing it proposes
MORE_SEEDS = 4
#: labels at a time for what the ensemble does not trust, where it trusts nothing
DOUBTFUL = 2
#: share of the first labels that must be there before the first training may begin
FIRST_SHARE = 0.75
#: predictions that the calibration looks back on
CALIBRATION_LABELS = 24
#: structures this close to the best say what volume to search at [eV/atom]
VOLUME_WINDOW = 0.15


def due(state: State, slots: Mapping[Pool, int]) -> list[Decision]:
    """What should be decided now, to be recorded before any of it starts.

    Args:
        state: the campaign.
        slots: tasks that each pool runs at the same time.
    """
    if state.finished:
        return []
    if trouble := _trouble(state):
        return [Decision("finish", {"reason": trouble, "failed": True})]
    if state.outstanding() and not state.config.overlap:
        return []
    if state.search_over:
        return confirmation.due(state)
    if all(seed.progress == "failed" for seed in state.of_kind("seed")):
        return [_seed(state)]
    if reason := why_stop(state):
        return [Decision("stop_search", {"reason": reason})]
    return _search(state, slots)


def _search(state: State, slots: Mapping[Pool, int]) -> list[Decision]:
    """One of label, train, evolve in strict order, or all that can overlap."""
    if first := _first_labels(state):
        return first
    labels, train = _label(state, slots), _train(state, slots)
    evolve = _evolve(state, slots, [*labels, *train])
    return [*labels, *train, *evolve] if state.config.overlap else train or labels or evolve


def _seed(state: State, count: int | None = None) -> Decision:
    inputs: dict[str, Any] = {
        "count": state.config.search.initial_labels if count is None else count,
        **_volume(state),
        # the first to succeed also brings the user's structures and the pool for the descriptors
        "first": not state.seeds,
    }
    if missing := missing_ends(state.config, state.known):
        inputs["ends"] = [named(end) for end in missing]
    return Decision("seed", inputs)


def _trouble(state: State) -> str:
    """Why the campaign cannot go on, or an empty string."""
    if broken := state.breakage:
        failure = broken.outcome["failure"]
        return f"{broken.kind} (task {broken.ordinal}) failed: {failure['reason']}"
    failed = state.failures
    if not failed or state.seed_tries < SEED_TRIES or state.outstanding():
        return ""
    if state.unasked:
        return ""
    if missing := missing_ends(state.config, state.known):
        return (
            f"the hull needs a label of {named(missing[0])}, and none could be computed: "
            f"{failed[0].outcome['failure']['reason']}; where its enthalpy is known, give it in "
            "compositions.references"
        )
    if len(state.labelled) > 1:
        return ""
    return (
        f"{len(failed)} of the first {len(state.of_kind('label'))} structures could not be "
        f"labelled: {failed[0].outcome['failure']['reason']}"
    )


def _first_labels(state: State) -> list[Decision]:
    """The labels of random crystals that everything begins with."""
    if state.outstanding("seed"):
        return []
    affordable = state.unasked[: max(0, state.labels_left)]
    new = [_label_task(state, seed, "seed") for seed in affordable]
    if new or state.outstanding("label"):
        return new
    if state.models:
        # all that is proposed is known, and not well: show the ensemble more of the space
        return [_seed(state, MORE_SEEDS)] if dry(state) and not settled(state) else []
    enough = len(state.labelled) >= max(2, state.config.search.initial_labels // 2)
    if state.seed_tries >= SEED_TRIES or (enough and not missing_ends(state.config, state.known)):
        return []
    return [_seed(state, 0 if enough else None)]


def _label(state: State, slots: Mapping[Pool, int]) -> list[Decision]:
    """Candidates of the newest generation, as many as there is room for."""
    generation = state.current
    if generation is None:
        return []
    room = label_room(state, slots, generation)
    if room <= 0:
        return []
    purpose, chosen = _wanted(state, generation, room)
    return [_label_task(state, candidate, purpose) for candidate in chosen]


def _wanted(state: State, generation: Generation, room: int) -> tuple[str, list[Candidate]]:
    """The purpose of the next labels and what they are for, at most ``room``."""
    untouched = not picked(state, generation)
    if not settled(state):
        chosen = unlabelled(state, generation, room)
        if not chosen and untouched:
            chosen = doubtful(state, generation, min(room, DOUBTFUL))
        return "search", chosen
    # what is left to ask is whether anything lies below the best
    chosen = rivals(state, generation)[:room]
    if not chosen and untouched and searched(state):
        return "audit", audit(state)[:room]
    return "search", chosen


def _label_task(state: State, candidate: Candidate, purpose: str) -> Decision:
    model = state.models[-1] if state.models else None
    raw = None
    if candidate.spread is not None and model is not None:
        raw = candidate.spread / model.calibration
    return Decision(
        "label", {"candidate": candidate.to_dict(), "purpose": purpose, "raw_spread": raw}
    )


def _train(state: State, slots: Mapping[Pool, int]) -> list[Decision]:
    """A training when enough labels are new."""
    if state.outstanding("train", "seed") or missing_ends(state.config, state.known):
        return []
    have = state.distinct_labels
    waiting = len(state.outstanding("label"))
    if not state.models:
        share = FIRST_SHARE if state.config.overlap else 1.0
        enough = have >= max(2.0, share * (have + waiting))
    else:
        needed = state.config.retrain_after or max(1, batch_size(state, slots) // 2)
        new = have - state.models[-1].labels
        enough = new >= needed or (new > 0 and not waiting)
    return [Decision("train", _train_inputs(state))] if enough else []


def _train_inputs(state: State) -> dict[str, Any]:
    judged = [one for one in state.labelled if one.raw_spread is not None]
    pairs = [
        [one.known.enthalpy - one.predicted, one.raw_spread]
        for one in judged[-CALIBRATION_LABELS:]
        if one.predicted is not None
    ]
    return {
        "labels": label_references(state),
        "warm": state.models[-1].key if state.models else None,
        "pool": next(seed.key for seed in state.of_kind("seed") if seed.progress == "done"),
        "calibration": pairs,
    }


def _evolve(state: State, slots: Mapping[Pool, int], decided: Sequence[Decision]) -> list[Decision]:
    """The genetic algorithm on the newest model, or again where nothing is left to do.

    Args:
        state: the campaign.
        slots: see `due`.
        decided: labels and trainings of this turn.
    """
    if not state.models or state.outstanding("evolve"):
        return []
    generation = state.current
    newest = state.models[-1]
    stale = generation is None or generation.model != newest.key
    idle = not decided and not state.outstanding("label", "train")
    if not (stale or idle or running_out(state, slots, decided)):
        return []
    carried = [] if generation is None else [c.id for c in generation.candidates]
    inputs = {
        "model": newest.key,
        "effort": state.config.search.evolution.thorough if thorough(state) else 1,
        "batch": batch_size(state, slots),
        "labels": label_references(state),
        "carried": {"key": None if generation is None else generation.key, "ids": carried},
        "weights": weights(state.operators, _operators(state)),
        **_volume(state),
    }
    if state.config.compositions is not None:
        inputs["chances"] = aims(state)
    return [Decision("evolve", inputs)]


def aims(state: State) -> dict[str, float]:
    """The probability of each composition, by how near the hull its labels and candidates come."""
    generation = state.current
    cap = state.config.search.acquisition.spread_cap_ev_per_atom
    trusted = [
        one
        for one in (generation.candidates if generation else ())
        if one.spread is not None and one.spread <= cap
    ]
    lowest: dict[str, float] = {}
    seen: list[Known | Candidate] = [*state.known, *trusted]
    for one in seen:
        lowest[one.formula] = min(one.height, lowest.get(one.formula, float("inf")))
    cells = {named(counts): named(reduced(counts)) for counts in state.config.cells}
    # what was tried and is not there lay higher than all that the generation kept
    unseen = max((one.height for one in trusted), default=float("inf"))
    heights = {cell: lowest.get(formula, unseen) for cell, formula in cells.items()}
    return chances(heights, Counter(one.cell for one in state.known))


def _operators(state: State) -> list[str]:
    """The operators of the search that can do anything with one of its compositions."""
    chosen = state.config.search.operators
    if chosen is None:
        chosen = operators.defaults()
    dimension = state.config.dimension
    spaces = [plain_space(named(counts), dimension) for counts in state.config.cells]
    return [one.kind for one in chosen if any(map(one.applicable, spaces))]


def _volume(state: State) -> dict[str, float]:
    """What the search is told of volumes."""
    if state.config.compositions is None:
        return {"volume_per_atom": volume_guess(state)}
    return {"volume_scale": volume_scale(state)}


def volume_scale(state: State) -> float:
    """Volume of the labels near the hull over the guess by their elements; 1 without any."""
    near = [one for one in state.known if one.height <= VOLUME_WINDOW]
    found = [one.atoms.get_volume() / len(one.atoms) / mixture_volume(one.counts) for one in near]
    return float(np.mean(found)) if found else 1.0


def volume_guess(state: State) -> float:
    """Volume to search at [Å^3/atom]: the user's, else that of the best labels; 0: by elements."""
    if state.config.search.volume_per_atom is not None:
        return state.config.search.volume_per_atom
    if not state.labelled or state.config.dimension == "cluster":
        return 0.0
    lowest = min(one.enthalpy for one in state.known)
    near = [one for one in state.known if one.enthalpy <= lowest + VOLUME_WINDOW]
    return float(np.mean([one.atoms.get_volume() / len(one.atoms) for one in near]))
