"""Pseudopotential files, told apart by what their headers say: element, functional, valence.

Names say little: Debian's folder for Quantum ESPRESSO mixes LDA, PBE and PBEsol. A set is of one
functional or it is refused.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from calculators.engines._headers import Pseudo

Read = Callable[[Path], Pseudo | None]


def choose(
    symbols: Iterable[str],
    folder: Path,
    names: Mapping[str, str],
    xc: str,
    read: Read,
) -> tuple[dict[str, Pseudo], list[str]]:
    """One file for each element, and a sentence for each that cannot be had.

    Args:
        symbols: elements.
        folder: where the files are.
        names: files in ``folder`` by element, for those that are named.
        xc: functional that every file must have.
        read: `read_upf`, `read_psp8` or `read_potcar`.
    """
    wanted = sorted(set(symbols))
    if not folder.is_dir():
        return {}, [f"There is no folder {folder} for pseudopotentials: correct pseudo_dir."]
    lost = [
        symbol for symbol in wanted if symbol in names and not (folder / names[symbol]).is_file()
    ]
    problems = [f"There is no {names[s]!r} for {s} in {folder}: correct the name." for s in lost]
    given = {s: read(folder / names[s]) for s in wanted if s in names and s not in lost}
    found: dict[str, Pseudo] = {}
    for symbol, pseudo in given.items():
        if pseudo is None or pseudo.symbol != symbol:
            of = "no pseudopotential" if pseudo is None else f"one of {pseudo.symbol}"
            problems.append(f"{names[symbol]!r} in {folder} is {of}, not one of {symbol}.")
        else:
            found[symbol] = pseudo
    search = [symbol for symbol in wanted if symbol not in names]
    known = _all(folder, read) if search else []
    for symbol in search:
        of_element = [one for one in known if one.symbol == symbol and not one.relativistic]
        right = [one for one in of_element if one.functional == xc]
        if len(right) == 1:
            found[symbol] = right[0]
        else:
            problems.append(_none_or_many(symbol, folder, xc, right or of_element))
    return found, problems + _wrong(found.values(), xc)


def _all(folder: Path, read: Read) -> list[Pseudo]:
    """Every pseudopotential in a folder, in the order of names."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [pseudo for path in files if (pseudo := read(path)) is not None]


def _none_or_many(symbol: str, folder: Path, xc: str, candidates: list[Pseudo]) -> str:
    """Why no file was chosen for an element."""
    listed = ", ".join(f"{one.path.name} ({one.functional})" for one in candidates)
    if not candidates:
        return (
            f"There is no pseudopotential for {symbol} in {folder}: put one of {xc} there, set "
            "pseudo_dir to a folder that has it, or take another composition."
        )
    if all(one.functional == xc for one in candidates):
        return (
            f"{folder} holds several {xc} files for {symbol}: {listed}. Name the one to take, e.g. "
            f"pseudopotentials: {{{symbol}: {candidates[0].path.name}}}."
        )
    return (
        f"{folder} holds no {xc} file for {symbol}, only {listed}: functionals must not be mixed. "
        f"Put a {xc} file there or set pseudo_dir to a folder that has it."
    )


def _wrong(found: Iterable[Pseudo], xc: str) -> list[str]:
    """A sentence where a named file is of another functional, and where they are mixed."""
    listed = [f"{one.path.name} ({one.functional})" for one in found]
    functionals = sorted({one.functional for one in found})
    if functionals in ([], [xc]):
        return []
    if len(functionals) == 1:
        return [
            f"The pseudopotentials are of {functionals[0]}, not of {xc}: {', '.join(listed)}. "
            f"Take files of {xc}, or set xc: {functionals[0]}."
        ]
    return [
        f"The pseudopotentials mix functionals ({', '.join(functionals)}): {', '.join(listed)}. "
        f"Every file must be of {xc}."
    ]


def changed(found: Mapping[str, Pseudo], checksums: Mapping[str, str]) -> list[str]:
    """A sentence for each file that is not the one the labels were made with."""
    return [
        f"{pseudo.path} is not the file that this campaign started with (checksum "
        f"{pseudo.checksum()}, expected {checksums[symbol]}): labels of both must not be mixed. "
        "Put the old file back or start a new run."
        for symbol, pseudo in found.items()
        if symbol in checksums and checksums[symbol] != pseudo.checksum()
    ]
