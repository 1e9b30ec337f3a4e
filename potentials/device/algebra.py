"""3x3 matrices written out: library inverses look at the result on the host."""

import torch
from torch import Tensor


def cofactors(matrices: Tensor) -> Tensor:
    """Cofactors of matrices with rows a, b, c: rows b x c, c x a, a x b (M, 3, 3)."""
    a, b, c = matrices.unbind(dim=1)
    return torch.stack(
        [torch.cross(b, c, dim=1), torch.cross(c, a, dim=1), torch.cross(a, b, dim=1)], 1
    )


def determinant(matrices: Tensor) -> Tensor:
    """Determinants (M,)."""
    a, b, c = matrices.unbind(dim=1)
    made: Tensor = (a * torch.cross(b, c, dim=1)).sum(dim=1)
    return made


def inverse(matrices: Tensor) -> Tensor:
    """Inverses (M, 3, 3); not finite where there is none."""
    return cofactors(matrices).transpose(1, 2) / determinant(matrices)[:, None, None]


def heights(cells: Tensor) -> Tensor:
    """Distances between opposite faces of cells with vectors as rows [Å] (M, 3)."""
    faces = torch.linalg.vector_norm(cofactors(cells), dim=2)
    made: Tensor = determinant(cells).abs()[:, None] / faces
    return made


def turn(vectors: Tensor, matrices: Tensor) -> Tensor:
    """Row vectors times matrices, v @ m, one matrix a batch entry (M, X, 3).

    Written out because products of low precision may be allowed for matrices, and lengths must
    not suffer.
    """
    x, y, z = (vectors[..., a : a + 1] for a in range(3))
    rows = [matrices[:, a : a + 1] for a in range(3)]
    made: Tensor = torch.addcmul(torch.addcmul(x * rows[0], y, rows[1]), z, rows[2])
    return made
