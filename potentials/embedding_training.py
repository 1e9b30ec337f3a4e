"""Descriptors that learn: their parameters are trained with bare networks, then kept.

Once they are kept the descriptor is like any other: the linear term is solved on it in closed
form, and the members' networks are trained on what that leaves.
"""

import numpy as np
import torch
from torch import Tensor

from potentials.dataset import Labelled
from potentials.ensemble import Ensemble
from potentials.features import values_only
from potentials.learned_problem import LearnedProblem
from potentials.network import Networks
from potentials.network_training import Problem, Training, kept_out, train_networks
from potentials.progress import Hooks
from potentials.scaling import scaling_of
from potentials.spec import EnsembleSpec


def learn(
    spec: EnsembleSpec,
    given: Labelled,
    rng: np.random.Generator,
    warm: Ensemble | None,
    hooks: Hooks,
) -> dict[str, Tensor]:
    """Trained parameters of the descriptor; none where it is fixed.

    Args:
        spec: settings of the ensemble.
        given: the labels.
        rng: source of the parameters to begin with.
        warm: an earlier ensemble of the same descriptor, to go on from.
        hooks: who is told how far it is; its checkpoint is that of the networks after it.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    n_elements = len(given.elements)
    start = spec.descriptor.learned(n_elements, generator)
    if not start:
        return {}
    if warm is not None:
        start = warm.learned
    values, species = values_only(given.structures, spec.descriptor.bound(start), given.elements)
    problem = LearnedProblem.of(
        given.structures,
        given.targets,
        spec.descriptor,
        given.elements,
        start,
        scaling=scaling_of(values.detach(), species, n_elements),
    )
    settings = spec.network
    unseen = kept_out([frame.id for frame in given.frames], spec.members, settings.held_out)
    networks = Networks(spec.members, n_elements, problem.size, settings.hidden, generator)
    device = torch.device("cpu")
    work = Problem(
        problem.parts(settings.batch, torch.float64, device),
        train=torch.where(unseen, 0.0, given.weights),
        check=torch.where(unseen, given.weights, 0.0),
        loss=spec.loss,
    )
    training = Training(settings, work, networks, rng, problem.parameters())
    trained = train_networks(training, Hooks(hooks.progress))
    return dict(zip(start, (values.double() for values in trained.learned), strict=True))
