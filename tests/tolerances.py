"""Tolerances of all tests, one place; each says what it allows for."""

#: the same sum in another order, float64 (relative)
ROUNDING = 1e-9
#: the same, absolute: [eV], [eV/Å] or [eV/Å^3] for numbers of order one
ROUNDING_ABS = 1e-8
#: step of central differences [Å] or [strain]
STEP = 1e-4
#: central differences of that step against a derivative, relative to the largest component
DIFFERENCE = 1e-5
#: two minimisers that stop at a small largest force: energy [eV/atom]
SAME_MINIMUM = 1e-5
