"""exp, tanh and the cosine cutoff of vectors, written out: there is no vector maths library.

Polynomials have as many terms as leave truncation below rounding in the type at hand.
"""

from math import factorial, log, pi
from typing import Any

from llvmlite import ir

from potentials.kernels.compiling import emitted, inlined
from potentials.kernels.simd import magnitude, power_of_two, where_above, with_sign_of

_HIGH = {32: 0.693359375, 64: 0.6931471803691238}


def _constant(numbers: dict[int, float]) -> Any:
    """A function of a vector: the number for its type."""

    @emitted
    def number(_: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            return context.get_constant(x.dtype, numbers[x.dtype.bitwidth])

        return x.dtype(x), code

    return number


def _polynomial(coefficients: dict[int, list[float]]) -> Any:
    """A function of a vector: the polynomial for its type, constant term first."""

    @emitted
    def value(_: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            kind = arguments[0].type
            made = None
            for number in reversed(coefficients[x.dtype.bitwidth]):
                term = ir.Constant(kind, [number] * x.lanes)
                if made is None:
                    made = term
                else:
                    scaled = builder.fmul(made, arguments[0], flags=("contract",))
                    made = builder.fadd(scaled, term, flags=("contract",))
            return made

        return x(x), code

    return value


#: adding it to a small number leaves the nearest whole number in the last bits
_rounder = _constant({32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52})
#: ln 2 in two parts: the first has so few digits that whole multiples of it are exact
_ln2_high = _constant(_HIGH)
_ln2_low = _constant({32: log(2.0) - _HIGH[32], 64: 1.9082149292705877e-10})
#: beyond this, tanh is 1 to rounding
_flat = _constant({32: 10.0, 64: 20.0})
_exponential = _polynomial(
    {bits: [1.0 / factorial(n) for n in range(terms)] for bits, terms in ((32, 8), (64, 14))}
)
_cosine = _polynomial(
    {
        bits: [(-1.0) ** n * (pi / 2) ** (2 * n) / factorial(2 * n) for n in range(terms)]
        for bits, terms in ((32, 8), (64, 12))
    }
)
_sine = _polynomial(
    {
        bits: [(-1.0) ** n * (pi / 2) ** (2 * n + 1) / factorial(2 * n + 1) for n in range(terms)]
        for bits, terms in ((32, 7), (64, 11))
    }
)


@inlined
def exponential(x: Any) -> Any:
    """exp(x) where neither it nor its inverse overflows."""
    shifted = x * 1.4426950408889634 + _rounder(x)
    whole = shifted - _rounder(x)
    rest = (x - whole * _ln2_high(x)) - whole * _ln2_low(x)
    return _exponential(rest) * power_of_two(shifted)


@inlined
def hyperbolic_tangent(x: Any) -> Any:
    """tanh(x); NaN stays NaN."""
    size = magnitude(x)
    small = exponential(where_above(size, _flat(x), _flat(x), size) * -2.0)
    return with_sign_of((1.0 - small) / (1.0 + small), x)


@inlined
def cosine_cutoff(share: Any) -> Any:
    """C = (cos(pi s) + 1) / 2 and dc/ds for s = distance / cutoff in [0, 1]."""
    square = share * share
    half = _cosine(square)
    return half * half, half * _sine(square) * share * (-pi)


#: beyond this, exp is nothing to rounding, and products of it are hardly below the smallest number
_faintest = _constant({32: 80.0, 64: 700.0})


@inlined
def decay(x: Any) -> Any:
    """exp(x) for x <= 0 (or just above) however far below; NaN stays NaN."""
    return exponential(where_above(magnitude(x), _faintest(x), -_faintest(x), x))


@inlined
def closing_cutoff(square: Any) -> Any:
    """The cosine cutoff C and dC/d(s^2) for s^2 = (distance / cutoff)^2; zero beyond one."""
    half = where_above(square, 1.0, 0.0, _cosine(square))
    return half * half, half * _sine(square) * (-0.5 * pi)
