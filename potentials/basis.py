"""What the linear term is linear in: scaled descriptors, and products of their leading components.

Products of descriptors bring in bonding that depends on its surroundings, as in quadratic SNAP
(Wood and Thompson, J. Chem. Phys. 148, 241721 (2018), doi:10.1063/1.5017641), and the fit stays
in closed form. Taking them of a few principal components keeps their number small, whatever the
number of elements. Products stand in an order in which those of fewer components come first, so
that a smaller basis is a part of a larger one.
"""

import torch
from torch import Tensor

from potentials.scaling import Scaling

#: products count this much less than descriptors of the same size under the ridge
PRODUCT_SCALE = 0.1


def size(n_plain: int, components: int) -> int:
    """Number of basis functions per element, C, for D descriptors and P components."""
    return n_plain + components * (components + 1) // 2


def most_components(n_plain: int, limit: int) -> int:
    """Largest number of components, at most D, whose basis has no more than ``limit`` functions."""
    fitting = (p for p in range(n_plain, 0, -1) if size(n_plain, p) <= limit)
    return next(fitting, 0)


def pairs(components: int) -> tuple[Tensor, Tensor]:
    """Indices of both factors of every product, those of fewer components first."""
    larger, smaller = torch.tril_indices(components, components)
    return smaller, larger


def expand(
    scaled: Tensor, jacobian: Tensor, member: Tensor, scaling: Scaling
) -> tuple[Tensor, Tensor]:
    """Basis functions summed over the atoms of each element, and their derivatives.

    Args:
        scaled: scaled descriptors of one structure (N, D).
        jacobian: their derivatives (N, D, X).
        member: whether an atom is of an element, as numbers (N, E).
        scaling: holds the components (E, D, P).

    Returns:
        Values (E, C) and derivatives (E, C, X).
    """
    values, slopes = [], []
    for element, turn in enumerate(scaling.components):
        own = torch.nonzero(member[:, element]).squeeze(1)
        mine, moves = scaled[own], jacobian[own]
        leading, turned = mine @ turn, torch.einsum("dp,ndx->npx", turn, moves)
        one, other = pairs(turn.shape[1])
        products = (leading[:, one] * leading[:, other]).sum(dim=0)
        # sum over atoms first: derivatives of all P^2 products of every atom are never stored
        crossed = torch.einsum("np,nqx->pqx", leading, turned)
        crossed = (crossed + crossed.transpose(0, 1))[one, other]
        values.append(torch.cat([mine.sum(dim=0), PRODUCT_SCALE * products]))
        slopes.append(torch.cat([moves.sum(dim=0), PRODUCT_SCALE * crossed]))
    return torch.stack(values), torch.stack(slopes)


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
    quadratic = forms(coefficients[..., n_plain:].to(scaled), turn.shape[2])
    halves = torch.einsum("knpq,nq->knp", quadratic[:, species], leading)
    energies = energies + torch.einsum("knp,np->kn", halves, leading)
    return energies, slopes + 2.0 * torch.einsum("ndp,knp->knd", turn, halves)


def forms(coefficients: Tensor, components: int) -> Tensor:
    """Symmetric quadratic forms (K, E, P, P) of product coefficients (K, E, P (P + 1) / 2)."""
    one, other = pairs(components)
    made = coefficients.new_zeros(*coefficients.shape[:2], components, components)
    made[..., one, other] = 0.5 * PRODUCT_SCALE * coefficients
    return made + made.transpose(2, 3)
