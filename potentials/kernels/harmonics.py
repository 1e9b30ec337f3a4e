"""Real spherical harmonics up to degree 4 of unit vectors, and their contracted gradient.

Scaled so that sum_m C_lm(u) C_lm(v) is the Legendre polynomial P_l(u.v), and ordered l^2 + l + m.
Each is a polynomial in z times the real or imaginary part of (x + iy)^m.
"""

from math import sqrt
from typing import Any

from potentials.kernels.compiling import inlined

#: highest degree that is written out
DEGREE = 4
#: number of harmonics
COUNT = (DEGREE + 1) ** 2
#: a tuple of as many entries: how Numba learns a number before it compiles
ROWS = (0,) * COUNT

_R3, _R5, _R15, _R35 = sqrt(3.0), sqrt(5.0), sqrt(15.0), sqrt(35.0)
_R38, _R58, _R358 = sqrt(3.0 / 8.0), sqrt(5.0 / 8.0), sqrt(35.0 / 8.0)


@inlined
def _plane(x: Any, y: Any) -> Any:
    """Real and imaginary parts of (x + iy)^m for m = 2, 3, 4."""
    c2, s2 = x * x - y * y, 2.0 * (x * y)
    c3, s3 = x * c2 - y * s2, x * s2 + y * c2
    return c2, s2, c3, s3, x * c3 - y * s3, x * s3 + y * c3


@inlined
def harmonics(x: Any, y: Any, z: Any) -> Any:
    """All of them as a tuple."""
    c2, s2, c3, s3, c4, s4 = _plane(x, y)
    zz = z * z
    p21 = _R3 * z
    p31, p32 = _R38 * (5.0 * zz - 1.0), (0.5 * _R15) * z
    p41, p42 = _R58 * (z * (7.0 * zz - 3.0)), (0.25 * _R5) * (7.0 * zz - 1.0)
    p43 = _R358 * z
    return (
        0.0 * x + 1.0,
        y,
        z,
        x,
        (0.5 * _R3) * s2,
        p21 * y,
        1.5 * zz - 0.5,
        p21 * x,
        (0.5 * _R3) * c2,
        _R58 * s3,
        p32 * s2,
        p31 * y,
        z * (2.5 * zz - 1.5),
        p31 * x,
        p32 * c2,
        _R58 * c3,
        (0.125 * _R35) * s4,
        p43 * s3,
        p42 * s2,
        p41 * y,
        zz * (4.375 * zz - 3.75) + 0.375,
        p41 * x,
        p42 * c2,
        p43 * c3,
        (0.125 * _R35) * c4,
    )


@inlined
def gradient(x: Any, y: Any, z: Any, s: Any) -> Any:
    """Sum over the harmonics of s[lm] times their gradient by (x, y, z).

    The part along the vector is arbitrary, as the harmonics are only meant on the unit sphere.
    """
    c2, s2, c3, s3, _, _ = _plane(x, y)
    zz = z * z
    p31, q31 = _R38 * (5.0 * zz - 1.0), (10.0 * _R38) * z
    p41, q41 = _R58 * (z * (7.0 * zz - 3.0)), _R58 * (21.0 * zz - 3.0)
    p42, q42 = (0.25 * _R5) * (7.0 * zz - 1.0), (3.5 * _R5) * z
    # amplitudes of the real (a) and imaginary (b) parts of each power
    a1 = s[3] + _R3 * (z * s[7]) + p31 * s[13] + p41 * s[21]
    b1 = s[1] + _R3 * (z * s[5]) + p31 * s[11] + p41 * s[19]
    a2 = (0.5 * _R3) * s[8] + (0.5 * _R15) * (z * s[14]) + p42 * s[22]
    b2 = (0.5 * _R3) * s[4] + (0.5 * _R15) * (z * s[10]) + p42 * s[18]
    a3, b3 = _R58 * s[15] + _R358 * (z * s[23]), _R58 * s[9] + _R358 * (z * s[17])
    a4, b4 = (0.125 * _R35) * s[24], (0.125 * _R35) * s[16]
    along_x = a1 + 2.0 * (a2 * x + b2 * y) + 3.0 * (a3 * c2 + b3 * s2) + 4.0 * (a4 * c3 + b4 * s3)
    along_y = b1 + 2.0 * (b2 * x - a2 * y) + 3.0 * (b3 * c2 - a3 * s2) + 4.0 * (b4 * c3 - a4 * s3)
    along_z = (
        s[2]
        + 3.0 * (z * s[6])
        + (7.5 * zz - 1.5) * s[12]
        + z * (17.5 * zz - 7.5) * s[20]
        + (_R3 * s[7] + q31 * s[13] + q41 * s[21]) * x
        + (_R3 * s[5] + q31 * s[11] + q41 * s[19]) * y
        + ((0.5 * _R15) * s[14] + q42 * s[22]) * c2
        + ((0.5 * _R15) * s[10] + q42 * s[18]) * s2
        + _R358 * (s[23] * c3 + s[17] * s3)
    )
    return along_x, along_y, along_z


@inlined
def slopes(x: Any, y: Any, z: Any) -> Any:
    """Gradients of all harmonics: a tuple by x, one by y, one by z.

    The part along the vector is arbitrary, as in `gradient`. The derivatives of (x + iy)^m are m
    times the power below, and i times that; a pair of harmonics has one factor in z.
    """
    c2, s2, c3, s3, _, _ = _plane(x, y)
    zz, zero, one = z * z, 0.0 * x, 0.0 * x + 1.0
    p21, p31, p32 = _R3 * z, _R38 * (5.0 * zz - 1.0), (0.5 * _R15) * z
    p41, p42 = _R58 * (z * (7.0 * zz - 3.0)), (0.25 * _R5) * (7.0 * zz - 1.0)
    p43 = _R358 * z
    # twice, three and four times the factors of m = 2, 3, 4
    d22, d32, d42 = _R3, 2.0 * p32, 2.0 * p42
    d33, d43, d44 = 3.0 * _R58, 3.0 * p43, 0.5 * _R35
    q31, q41, q42 = (10.0 * _R38) * z, _R58 * (21.0 * zz - 3.0), (3.5 * _R5) * z
    m1 = -1.0
    by_x = (
        *(zero, zero, zero, one),
        *(d22 * y, zero, zero, p21, d22 * x),
        *(d33 * s2, d32 * y, zero, zero, p31, d32 * x, d33 * c2),
        *(d44 * s3, d43 * s2, d42 * y, zero, zero, p41, d42 * x, d43 * c2, d44 * c3),
    )
    by_y = (
        *(zero, one, zero, zero),
        *(d22 * x, p21, zero, zero, m1 * d22 * y),
        *(d33 * c2, d32 * x, p31, zero, zero, m1 * (d32 * y), m1 * d33 * s2),
        *(d44 * c3, d43 * c2, d42 * x, p41, zero, zero),
        *(m1 * (d42 * y), m1 * (d43 * s2), m1 * d44 * s3),
    )
    by_z = (
        *(zero, zero, one, zero),
        *(zero, _R3 * y, 3.0 * z, _R3 * x, zero),
        *(zero, (0.5 * _R15) * s2, q31 * y, 7.5 * zz - 1.5, q31 * x, (0.5 * _R15) * c2, zero),
        *(zero, _R358 * s3, q42 * s2, q41 * y, z * (17.5 * zz - 7.5)),
        *(q41 * x, q42 * c2, _R358 * c3, zero),
    )
    return by_x, by_y, by_z
