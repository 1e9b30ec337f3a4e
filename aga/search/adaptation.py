"""How often each operator is used, from its record: probability matching with a floor.

Goldberg 1990, "Probability matching"; Thierens 2005, https://doi.org/10.1145/1068009.1068251.
"""

from collections.abc import Mapping, Sequence

Record = Mapping[str, tuple[float, float]]


def weights(record: Record, names: Sequence[str], floor: float = 0.05) -> dict[str, float]:
    """The probability of each operator; they sum to 1.

    Args:
        record: (tried, succeeded) by operator; one that is missing counts as never tried.
        names: the operators in use.
        floor: least probability of each, so that none dies; at most an even share.

    Raises:
        ValueError: no names, or a floor outside 0..1.
    """
    if not names or not 0 <= floor <= 1:
        raise ValueError(
            f"weights: expected operators and a floor of 0..1, got {list(names)}, {floor}"
        )
    floor = min(floor, 1 / len(names))
    quality = {}
    for name in names:
        tried, succeeded = record.get(name, (0, 0))
        # Laplace's rule: as if each had been tried twice, once with success
        quality[name] = (succeeded + 1) / (tried + 2)
    total = sum(quality.values())
    free = 1 - floor * len(names)
    return {name: floor + free * value / total for name, value in quality.items()}


def updated(record: Record, new: Record, memory: float = 0.9) -> dict[str, tuple[float, float]]:
    """The record with one more cycle; older cycles fade by ``memory`` each.

    Fading lets an operator that helped early (random crystals) give way to one that helps late.
    """
    merged = {}
    for name in sorted({*record, *new}):
        old_tried, old_succeeded = record.get(name, (0.0, 0.0))
        tried, succeeded = new.get(name, (0.0, 0.0))
        merged[name] = (memory * old_tried + tried, memory * old_succeeded + succeeded)
    return merged
