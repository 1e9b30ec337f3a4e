"""When the search is over, and what is still worth a label: pure functions of the state.

The search ends where the answer has stopped changing for labels and for proposals, the potential
has lately judged well, nothing better is expected among what is unlabelled, and what is least like
anything labelled turned out to be no better.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import hypot, inf, sqrt

from aga.campaign.state import Generation, Labelled, State
from aga.search.acquisition import Acquisition
from aga.search.candidate import Candidate, Known
from aga.search.settings import breadth
from aga.search.similarity import same_form

#: seed tasks at most, when too few of the first labels succeed
SEED_TRIES = 3
#: runs of the genetic algorithm in a row that bring nothing to label, before the search is over
DRY_GENERATIONS = 3
#: share of the last labels that may be misjudged in a search that has settled
MISJUDGED = 0.2
#: atoms in the cell, and pairs of elements, up to which the patience is as the settings say
PATIENT_ATOMS = 16
PATIENT_PAIRS = 3
#: labels before the end for what is least like anything labelled, however high it is predicted
AUDITS = 4
#: labels that tell how far predictions may be too high
DOWNWARD_LABELS = 24
#: labels that count as if they had erred by one spread both ways
_PRIOR_LABELS = 4
#: one error counts for no more than so many spreads
_OUTLIER = 3.0
#: why labels are asked for that judge the potential
_JUDGING = ("search", "audit")
#: a copy of the best that lies lower by less is the same answer: its minimum is what confirmation
#: finds (of monoclinic TiO2 nine copies in a row were labelled for 0.3 meV/atom each) [eV/atom]
_SAME_ANSWER = 0.002
#: what is less likely to be the best needs no look at its form
_UNLIKELY = 1e-3
#: a prediction is not exact to less, whatever its spread [eV/atom]
_NOISE = 0.001


def why_stop(state: State) -> str:
    """Why the search is over, or an empty string.

    Either the budget is spent, or the answer has stopped changing: the best structure has been
    the same for some labels and many proposals, nothing unlabelled is predicted as low, and the
    ensemble is sure of what lies there.
    """
    budget, stop = state.config.budget, state.config.stop
    if state.hours_used >= budget.hours:
        return f"the time is used up ({budget.hours:g} h)"
    if state.labels_left <= 0 and not state.outstanding("label"):
        return f"the labels are used up ({budget.labels}, {budget.confirm_reserve} kept back)"
    tried = state.seed_tries >= SEED_TRIES and not state.unasked
    done = settled(state) and searched(state) and not audit(state)
    if dry(state) and (done or (tried and not settled(state))):
        return f"{DRY_GENERATIONS} generations in a row brought nothing new to label"
    generation = state.current
    if generation is None or state.outstanding("label", "train", "evolve"):
        return ""
    if generation.model != state.models[-1].key or state.models[-1].labels < state.distinct_labels:
        return ""
    if not done or _open_questions(state, generation):
        return ""
    unchanged = len(state.labelled) - state.best_since
    best = f"best structure ({state.lowest.best.enthalpy:.4f} eV/atom)"
    if state.config.compositions is not None:
        best = f"hull of {len(state.answer)} structures"
    return (
        f"the {best} has not changed for {unchanged} labels and fewer than {stop.doubt:g} better "
        "structures are expected among all that is not labelled"
    )


def settled(state: State) -> bool:
    """Whether the best structure has been the same for some labels that held no surprise.

    Random structures begin the count anew: the first say nothing of the search, and later ones are
    asked for where something is not understood.
    """
    unchanged = len(state.labelled) - max(state.best_since, state.seeded)
    patience = round(state.config.stop.patience_labels * scope(state))
    return bool(state.models) and unchanged >= patience and not surprised(state)


def scope(state: State) -> float:
    """How many times the patience that the settings name: more for large cells of many elements.

    Settings are measured on one and two elements in up to 16 atoms. Structures grow in number with
    the atoms, and what is to be learnt with the pairs of elements: MgSiO3 in 20 atoms ended in
    akimotoite, 0.13 eV/atom too high, after 32 labels; with three times the patience it went on.
    """
    config = state.config
    atoms = max(sum(counts.values()) for counts in config.cells)
    pairs = len(config.elements) * (len(config.elements) + 1) / 2
    return max(1.0, (atoms / PATIENT_ATOMS) ** 2 * pairs / PATIENT_PAIRS)


def surprised(state: State) -> bool:
    """Whether the potential has lately placed structures far too high above the best.

    While it sees twice the height of what it has not seen before, a structure that it places above
    the best may lie below it, however many labels have found nothing.
    """
    stop, best = state.config.stop, state.lowest.best.height
    wrong = sum(
        too_high > max(one.known.height - best, stop.window_ev_per_atom)
        for one, too_high, _ in islice(_judged(state), stop.patience_labels)
    )
    return wrong > MISJUDGED * stop.patience_labels


def downward(state: State) -> float:
    """How far labels fall below their predictions, in calibrated spreads (root mean square).

    Errors are not the same both ways. What is labelled are minima of the potential, where it is
    most likely too low: in nine searches labels scattered by 2 to 15 spreads above their
    predictions, and by 0.2 to 1.2 below.
    """
    errors = [
        min(max(0.0, too_high) / hypot(spread, _NOISE), _OUTLIER)
        for _, too_high, spread in islice(_judged(state), DOWNWARD_LABELS)
    ]
    # where errors are the same both ways half are downward: at first they are thought to be
    squares = 2.0 * sum(error**2 for error in errors) + _PRIOR_LABELS
    return sqrt(squares / (len(errors) + _PRIOR_LABELS))


def _judged(state: State) -> Iterator[tuple[Labelled, float, float]]:
    """Labels that judge the potential, the last first; how far it was too high; its spread."""
    for one in reversed(state.labelled):
        if one.purpose in _JUDGING and one.predicted is not None and one.spread is not None:
            yield one, one.predicted - one.known.enthalpy, one.spread


def searched(state: State) -> bool:
    """Whether enough has been tried on the potential since the best structure was found.

    Labels alone do not tell: where the operators have not yet come upon the ground state, the
    potential may know its energy and nothing asks for it.
    """
    tried = state.proposals - state.proposals_before_best
    asked = round(
        state.config.stop.patience_proposals * breadth(len(state.config.cells)) * scope(state)
    )
    return tried >= asked


def audit(state: State) -> list[Candidate]:
    """What is still to be labelled because it is least like anything labelled, before the end.

    A potential may be sure of what it has never seen, and wrong: among close-packed silicon diamond
    is predicted 0.24 eV/atom above the best with a spread of 0.1, so that no rule that asks the
    potential would look at it. Labels that are no better than the best count until one is better.
    """
    if state.current is None:
        return []
    since = max(state.best_since, state.seeded)
    done = sum(one.purpose == "audit" for one in state.labelled[since:])
    failed = sum(one.inputs.get("purpose") == "audit" for one in state.failures)
    left = max(0, AUDITS - done - failed)
    return _anything(state, state.current.candidates, left, explore=1.0)


def doubtful(state: State, generation: Generation, n: int) -> list[Candidate]:
    """Up to ``n`` candidates to label where none is trusted: those that are most surely low.

    More random structures teach less: what the search comes upon is what must be known.
    """
    return _anything(state, generation.candidates, n, explore=0.0)


def _anything(
    state: State, candidates: Sequence[Candidate], n: int, *, explore: float
) -> list[Candidate]:
    """Up to ``n`` of some, none too high or too uncertain: for novelty, or else surely low."""
    bold = {
        "spread_cap_ev_per_atom": inf,
        "window_ev_per_atom": inf,
        "explore": explore,
        "exploit": 1.0 - explore,
    }
    rule = state.config.search.acquisition.model_copy(update=bold)
    return _chosen(state, candidates, rule, n)


def thorough(state: State) -> bool:
    """Whether what is left is to search; a hull whose first labels all lie above has not begun."""
    begun = state.config.compositions is None or (
        state.lowest.best.height <= state.config.stop.window_ev_per_atom
    )
    return begun and settled(state)


def dry(state: State) -> bool:
    """Whether the last generations all ended without a label, and the ensemble knows all labels."""
    if state.outstanding() or len(state.generations) < DRY_GENERATIONS:
        return False
    if state.models[-1].labels < state.distinct_labels:
        return False
    last = state.generations[-DRY_GENERATIONS:]
    same_model = all(generation.model == state.models[-1].key for generation in last)
    return same_model and not any(picked(state, generation) for generation in last)


def _open_questions(state: State, generation: Generation) -> bool:
    """Whether a candidate waits that may be the best, or the ensemble is unsure near it."""
    stop, best = state.config.stop, state.lowest.best.height
    factor = downward(state)
    unsure = any(
        one.height <= best + stop.window_ev_per_atom
        and one.spread is not None
        and factor * one.spread > stop.spread_ev_per_atom
        for one in generation.candidates
    )
    return unsure or bool(rivals(state, generation))


def rivals(state: State, generation: Generation) -> list[Candidate]:
    """What must be labelled before the end, the likeliest to be the best first.

    Among all the others fewer than ``stop.doubt`` structures are expected to lie below the best.
    A fixed number of spreads would ask for every member of a dense spectrum: of Cu8Au8 twenty
    orderings lie within 10 meV/atom of the lowest. What is placed below the best counts also where
    it is not trusted: carbon at 50 GPa, whose first random crystals span 9 eV/atom, ended 0.6
    eV/atom too high while all candidates were placed below, with spreads of 0.5 to 20 eV/atom.
    Of 15 searches of other systems none had such candidates by then.
    """
    best, factor = state.lowest.best.height, downward(state)
    offered = unlabelled(state, generation, len(generation.candidates))
    # among others novelty offers them; of itself it offers nothing where nothing is trusted
    offered = offered or _unknown(state, generation, best)
    ranked = sorted((-_better(state, one, best, factor), one.id, one) for one in offered)
    left = -sum(row[0] for row in ranked)
    wanted: list[Candidate] = []
    for share, _, one in ranked:
        if left <= state.config.stop.doubt:
            break
        wanted.append(one)
        left += share
    return wanted


def _unknown(state: State, generation: Generation, best: float) -> list[Candidate]:
    """What is placed below the best [eV/atom], not trusted, and waits for a label."""
    below = state.config.search.acquisition.unknown(generation.candidates, best)
    return _anything(state, below, len(below), explore=0.0) if below else []


def _better(state: State, one: Candidate, best: float, factor: float) -> float:
    """The probability that a candidate is a better answer; see `chance`."""
    likely = chance(one, best, factor)
    if likely > _UNLIKELY and any(_same_form(one, group.best) for group in state.answer):
        return chance(one, best - _SAME_ANSWER, factor)
    return likely


def _same_form(one: Candidate, best: Known) -> bool:
    return one.formula == best.formula and same_form(one.atoms, best.atoms)


def chance(one: Candidate, best: float, factor: float = 1.0) -> float:
    """The probability that a candidate lies below ``best`` [eV/atom] by the engine.

    Errors over calibrated spreads have heavy tails: Student's t with four degrees of freedom, of
    unit variance (its distribution function: Abramowitz & Stegun 26.7.4).

    Args:
        one: the candidate.
        best: height to lie below [eV/atom].
        factor: see `downward`.
    """
    over = sqrt(2.0) * (one.height - best) / hypot(factor * (one.spread or 0.0), _NOISE)
    share = over / sqrt(4.0 + over * over)
    return 0.5 - 0.25 * share * (3.0 - share * share)


def unlabelled(state: State, generation: Generation, n: int) -> list[Candidate]:
    """Up to ``n`` candidates of a generation that are worth a label and wait for none."""
    return _chosen(state, generation.candidates, state.config.search.acquisition, n)


def _chosen(
    state: State, candidates: Sequence[Candidate], rule: Acquisition, n: int
) -> list[Candidate]:
    """What a rule takes of some candidates."""
    offered = [one for one in candidates if one.id not in state.asked_ids]
    # what the engine could not compute it will not compute from a copy either
    passed_over = [state.asked_for(one) for one in (*state.outstanding("label"), *state.failures)]
    return rule.choose(offered, state.known, passed_over, n)


def picked(state: State, generation: Generation) -> int:
    """How many candidates of a generation the engine was asked for."""
    return sum(identity in state.asked_ids for identity in generation.ids)
