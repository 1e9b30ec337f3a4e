"""How DFT is kept supplied: how many labels are asked for, and when candidates run out.

Pure functions of the state and of the slots that there are.
"""

from collections.abc import Mapping, Sequence

from aga.campaign.state import Decision, Generation, State
from aga.campaign.stopping import picked, settled
from calculators.task import Pool, ahead

#: labels per generation at least: with four, one DFT slot took 21 labels to Si8's ground state
#: instead of 18 and 30 to carbon's instead of 25 (medians of ten seeds)
LEAST = 2


def batch_size(state: State, slots: Mapping[Pool, int]) -> int:
    """Labels per generation; without overlap the same on every machine."""
    if state.config.search.batch is not None:
        return state.config.search.batch
    return max(LEAST, 2 * slots["dft"]) if state.config.overlap else LEAST


def label_room(state: State, slots: Mapping[Pool, int], generation: Generation) -> int:
    """How many more candidates of a generation may be labelled now."""
    room = min(batch_size(state, slots) - picked(state, generation), state.labels_left)
    if not state.config.overlap:
        return room
    spare = ahead(slots["dft"])
    free = slots["dft"] + spare - len(state.outstanding("label", "relax"))
    # to choose is to look at every candidate: not for each of many slots that becomes free
    return min(room, free) if free >= spare - spare // 2 else 0


def running_out(state: State, slots: Mapping[Pool, int], decided: Sequence[Decision]) -> bool:
    """Whether DFT would soon wait for candidates: the search then goes on with what it has.

    A training that has only just begun is waited for, because its ensemble proposes better; labels
    that have come in since it began tell the time. So is the next label, where all that a
    generation has brought is known.

    Args:
        state: the campaign.
        slots: tasks that each pool runs at the same time.
        decided: labels and trainings of this turn.
    """
    generation, dft = state.current, slots["dft"]
    new = sum(one.kind == "label" for one in decided)
    if generation is None or not state.config.overlap or settled(state) or state.labels_left <= new:
        return False
    named = [len(one.inputs["labels"]) for one in decided if one.kind == "train"]
    named += [len(one.inputs["labels"]) for one in state.outstanding("train")]
    if named and state.distinct_labels - max(named) < max(1, dft // 4):
        return False
    asked = picked(state, generation) + new
    left = min(batch_size(state, slots), len(generation.ids)) - asked
    waiting = len(state.outstanding("label")) + new
    return asked > 0 and (left < dft // 4 or waiting <= dft)
