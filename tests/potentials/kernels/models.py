"""Ensembles with random parameters, for every part of the evaluation, and what they are held to."""

import numpy as np
import torch

from potentials.domain import Domain
from potentials.ensemble import Ensemble, Prediction
from potentials.network import Networks
from potentials.scaling import Scaling
from potentials.spec import EnsembleSpec
from potentials.wall import Wall

#: numbers of a prediction that must agree, and by how much relative to the largest
FIELDS = ("energy", "member_energy", "energy_std", "forces", "stress", "extrapolation")


def random_domain(n_elements, size, seed):
    """Ranges that some random crystals leave and some do not."""
    generator = torch.Generator().manual_seed(seed)

    def noise():
        return torch.randn(n_elements, size, generator=generator, dtype=torch.float64)

    centre = 0.3 * noise()
    # zero, which a descriptor is without neighbours, lies inside
    half = centre.abs() + 0.1
    return Domain(0.5 + noise().abs(), torch.stack([centre - half, centre + half]), (0.05, 0.1))


def random_ensemble(
    elements=(29, 79),
    /,
    *,
    members=3,
    hidden=(6, 5),
    components=4,
    wall=2.2,
    seed=0,
    **descriptor,
):
    """Every term is there and far from zero; no data were ever fitted.

    Args:
        elements: atomic numbers.
        members: number of members.
        hidden: units of the networks, or None for no networks.
        components: leading components, 0 for none.
        wall: start of the wall [Å].
        seed: of all numbers.
        descriptor: settings of the descriptor.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    common = {"kind": "moments", "cutoff": 4.5, "radial": 5, "angular": 3}
    settings = descriptor if "kind" in descriptor else common | descriptor
    spec = EnsembleSpec.model_validate(
        {"descriptor": settings, "members": members, "network": {"hidden": hidden or (1,)}}
    )
    count = len(elements)
    size = spec.descriptor.size(count)
    networks = None
    if hidden is not None:
        networks = Networks(members, count, size, hidden, generator)
        with torch.no_grad():
            for parameter in networks.parameters():
                parameter.add_(0.3 * noise(*parameter.shape))
    turn = torch.linalg.qr(noise(count, size, size))[0][:, :, :components]
    basis = size + components * (components + 1) // 2
    middle, width = noise(count, size), 1.0 + noise(count, size).abs()
    return Ensemble(
        spec=spec,
        elements=tuple(elements),
        scaling=Scaling(1.0 + noise(count, size), 1.0 + noise(count, size).abs(), turn),
        reference=noise(count),
        linear=0.1 * noise(members, count, basis),
        constants=0.1 * noise(members, count),
        networks=networks,
        wall=Wall(torch.full((count, count), wall, dtype=torch.float64)),
        bounds=torch.stack([middle - width, middle + width]),
        calibration=1.3,
        engine="random",
        facts={},
        force_calibration=0.7,
        energy_floor=0.03,
        force_floor=0.2,
        domain=random_domain(count, size, seed),
    )


def difference(found: Prediction, expected: Prediction, *, members=False):
    """Largest difference, by field, on the scale of the field; NaN must meet NaN."""
    made = {}
    for name in (*FIELDS, "forces_std") if members else FIELDS:
        one, other = getattr(found, name).numpy(), getattr(expected, name).numpy()
        assert one.shape == other.shape, name
        assert (np.isnan(one) == np.isnan(other)).all(), name
        if one.size and not np.isnan(one).all():
            made[name] = float(np.nanmax(np.abs(one - other)) / max(1.0, np.nanmax(np.abs(other))))
    return made
