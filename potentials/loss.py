"""Weights of labels and parts of the loss: pure functions.

The energy, force and virial loss with scheduled prefactors is that of Zhang et al., PRL 120,
143001 (2018), doi:10.1103/PhysRevLett.120.143001, with energies and virials per atom.
"""

import torch
from torch import Tensor

from potentials.spec import LabelWeights, LossWeights


def label_weights(enthalpies: Tensor, fmax: Tensor, spec: LabelWeights) -> Tensor:
    """How much every label counts, mean 1 (F,): violent labels count little.

    w = [exp(-(H - Hmin)/s) + floor] / [1 + (Fmax/f)^2]

    Args:
        enthalpies: (E + pV)/n [eV/atom] (F,).
        fmax: largest force of each label [eV/Å] (F,).
        spec: the scales s and f and the floor.
    """
    scale = spec.energy_scale_ev_per_atom
    above = torch.zeros_like(enthalpies) if scale is None else enthalpies - enthalpies.min()
    force = spec.force_scale_ev_per_a
    calm = torch.ones_like(fmax) if force is None else 1.0 + (fmax / force) ** 2
    weights = (torch.exp(-above / (scale or 1.0)) + spec.floor) / calm
    return weights / weights.mean()


def focal_weights(losses: Tensor, gamma: float, weights: Tensor | None = None) -> Tensor:
    """FL_i = (n loss_i / sum_j loss_j)^gamma along the last axis.

    Structures that the model fits badly count more, so that a few new labels are not drowned by
    the many old ones that are fitted already. gamma = 0 gives ones.

    Args:
        losses: loss of every structure in the previous step, not negative (..., F).
        gamma: exponent.
        weights: structures with weight zero take no part in the mean (..., F).
    """
    if gamma == 0.0:
        return torch.ones_like(losses)
    used = torch.ones_like(losses) if weights is None else (weights > 0).to(losses)
    mean = (losses * used).sum(-1, keepdim=True) / used.sum(-1, keepdim=True).clamp(min=1.0)
    return (losses / mean.clamp(min=torch.finfo(losses.dtype).tiny)) ** gamma


def learning_rate(step: int, steps: int, start: float, end: float) -> float:
    """Exponential decay from ``start`` at step 0 to ``end`` at the last step."""
    return float(start * (end / start) ** (step / max(steps - 1, 1)))


def prefactors(
    rate: float, rate_start: float, start: LossWeights, limit: LossWeights
) -> LossWeights:
    """P = p_limit (1 - lr/lr0) + p_start lr/lr0 for each part of the loss.

    A part whose limit is zero is off from the start: the linear term was not fitted to it, so that
    what it leaves there is not known.
    """
    share = rate / rate_start

    def between(first: float, last: float) -> float:
        return last * (1.0 - share) + first * share if last > 0.0 else 0.0

    return LossWeights(
        energy=between(start.energy, limit.energy),
        forces=between(start.forces, limit.forces),
        virial=between(start.virial, limit.virial),
    )
