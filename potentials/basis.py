"""What the linear term is linear in: scaled descriptors, and products of their leading components.

Products of descriptors bring in bonding that depends on its surroundings, as in quadratic SNAP
(Wood and Thompson, J. Chem. Phys. 148, 241721 (2018), doi:10.1063/1.5017641), and the fit stays
in closed form. Taking them of a few principal components keeps their number small, whatever the
number of elements.
"""

import torch
from torch import Tensor

from potentials.scaling import Scaling

#: products count this much less than descriptors of the same size under the ridge
PRODUCT_SCALE = 0.1


def size(scaling: Scaling) -> int:
    """Number of basis functions per element, C."""
    components = scaling.components.shape[2]
    return scaling.mean.shape[1] + components * (components + 1) // 2


def expand(
    scaled: Tensor, jacobian: Tensor, species: Tensor, scaling: Scaling
) -> tuple[Tensor, Tensor]:
    """Basis functions of every atom and their derivatives.

    Args:
        scaled: scaled descriptors (N, D).
        jacobian: their derivatives (N, D, X).
        species: element index (N,).
        scaling: holds the components (E, D, P).

    Returns:
        Values (N, C) and derivatives (N, C, X).
    """
    turn = scaling.components[species]
    leading = torch.einsum("nd,ndp->np", scaled, turn)
    moves = turn.transpose(1, 2) @ jacobian
    one, other = torch.triu_indices(turn.shape[2], turn.shape[2])
    products = PRODUCT_SCALE * leading[:, one] * leading[:, other]
    slopes = leading[:, one, None] * moves[:, other] + leading[:, other, None] * moves[:, one]
    return torch.cat([scaled, products], 1), torch.cat([jacobian, PRODUCT_SCALE * slopes], 1)


def contract(
    coefficients: Tensor, scaled: Tensor, species: Tensor, scaling: Scaling
) -> tuple[Tensor, Tensor]:
    """Energies of atoms and their derivatives by the scaled descriptors.

    Args:
        coefficients: of the basis functions, by member and element (K, E, C).
        scaled: scaled descriptors (N, D).
        species: element index (N,).
        scaling: holds the components (E, D, P).

    Returns:
        Energies (K, N) and derivatives (K, N, D).
    """
    n_plain = scaled.shape[1]
    turn = scaling.components.to(scaled)[species]
    slopes = coefficients[:, species, :n_plain].to(scaled)
    energies = torch.einsum("knd,nd->kn", slopes, scaled)
    leading = torch.einsum("nd,ndp->np", scaled, turn)
    forms = _forms(coefficients[..., n_plain:].to(scaled), turn.shape[2])
    halves = torch.einsum("knpq,nq->knp", forms[:, species], leading)
    energies = energies + torch.einsum("knp,np->kn", halves, leading)
    return energies, slopes + 2.0 * torch.einsum("ndp,knp->knd", turn, halves)


def _forms(coefficients: Tensor, components: int) -> Tensor:
    """Symmetric quadratic forms (K, E, P, P) of product coefficients (K, E, P (P + 1) / 2)."""
    one, other = torch.triu_indices(components, components)
    forms = coefficients.new_zeros(*coefficients.shape[:2], components, components)
    forms[..., one, other] = 0.5 * PRODUCT_SCALE * coefficients
    return forms + forms.transpose(2, 3)
