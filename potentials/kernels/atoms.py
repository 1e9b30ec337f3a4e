"""One atom of any descriptor: which compiled functions belong to which recipe.

Numba decides when it compiles, by the type of the recipe: what it is told to `overload` needs a
function of that name and these arguments to stand for it. Such a function has nothing to do in
Python, where every structure goes through `compiled`; called there it says so instead of
doing nothing.
"""

from typing import Any

from numba.extending import overload

from potentials.kernels.compiling import SETTINGS, typed
from potentials.kernels.describing import describe, pull_back
from potentials.kernels.gaussians import describe_symmetry, pull_symmetry
from potentials.kernels.rows import fill_rows
from potentials.kernels.symmetry import SymmetryRecipe
from potentials.kernels.symmetry_rows import fill_symmetry_rows


def _symmetric(recipe: Any) -> bool:
    label: str = recipe.label
    return label == SymmetryRecipe.__name__


def describe_atom(
    recipe: Any, atom: Any, found: Any, values: Any, base: Any, moments: Any, made: Any
) -> None:
    """Descriptors of one atom (its element and slot), as for `describing.describe`."""
    raise NotImplementedError("only compiled code can call this")


@typed(overload(describe_atom, jit_options=SETTINGS))
def _describe_atom(
    recipe: Any, atom: Any, found: Any, values: Any, base: Any, moments: Any, made: Any
) -> Any:
    def by_moments(
        recipe: Any, atom: Any, found: Any, values: Any, base: Any, moments: Any, made: Any
    ) -> None:
        describe(recipe, found, atom[1], values, base, moments, made)

    def by_symmetry(
        recipe: Any, atom: Any, found: Any, values: Any, base: Any, moments: Any, made: Any
    ) -> None:
        describe_symmetry(recipe, atom, found, values, base, moments, made)

    return by_symmetry if _symmetric(recipe) else by_moments


def pull_atom(
    recipe: Any, e: Any, i: Any, places: Any, room: Any, forces: Any, virial: Any
) -> None:
    """Forces and virial of one atom's descriptors, as for `describing.pull_back`."""
    raise NotImplementedError("only compiled code can call this")


@typed(overload(pull_atom, jit_options=SETTINGS))
def _pull_atom(
    recipe: Any, e: Any, i: Any, places: Any, room: Any, forces: Any, virial: Any
) -> Any:
    def by_moments(
        recipe: Any, e: Any, i: Any, places: Any, room: Any, forces: Any, virial: Any
    ) -> None:
        pull_back(recipe, i, places, room, forces, virial)

    def by_symmetry(
        recipe: Any, e: Any, i: Any, places: Any, room: Any, forces: Any, virial: Any
    ) -> None:
        pull_symmetry(recipe, e, i, places, room, forces, virial)

    return by_symmetry if _symmetric(recipe) else by_moments


def fill_atom(recipe: Any, e: Any, i: Any, rows: Any, columns: Any, room: Any) -> None:
    """Derivatives of all components of one atom of element ``e`` (D x columns,)."""
    raise NotImplementedError("only compiled code can call this")


@typed(overload(fill_atom, jit_options=SETTINGS))
def _fill_atom(recipe: Any, e: Any, i: Any, rows: Any, columns: Any, room: Any) -> Any:
    def by_moments(recipe: Any, e: Any, i: Any, rows: Any, columns: Any, room: Any) -> None:
        fill_rows(recipe, i, rows, columns, room)

    def by_symmetry(recipe: Any, e: Any, i: Any, rows: Any, columns: Any, room: Any) -> None:
        fill_symmetry_rows(recipe, e, i, rows, columns, room)

    return by_symmetry if _symmetric(recipe) else by_moments
