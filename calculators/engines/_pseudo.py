"""Pseudopotential files, told apart by what their headers say: element, functional, valence.

Names say little: Debian's folder for Quantum ESPRESSO mixes LDA, PBE and PBEsol. A set is of one
functional or it is refused.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# pw.x's names of functionals: exchange, correlation, and gradient corrections of both
_QE_NAMES = {
    "SLA PW PBX PBC": "PBE",
    "SLA PW PBE PBE": "PBE",
    "SLA PW PSX PSC": "PBEsol",
    "PBESOL": "PBEsol",
    "SLA PZ NOGX NOGC": "LDA",
    "SLA PW NOGX NOGC": "LDA",
    "PZ": "LDA",
    "PW": "LDA",
    "SLA PW RPB PBC": "RPBE",
    "SLA PW REVX PBC": "revPBE",
    "REVPBE": "revPBE",
}
# ABINIT's ixc; a negative number is two of libxc's
_ABINIT_NAMES = {
    1: "LDA",
    2: "LDA",
    7: "LDA",
    11: "PBE",
    14: "revPBE",
    15: "RPBE",
    23: "WC",
    -101130: "PBE",
    -116133: "PBEsol",
    -1012: "LDA",
    -1009: "LDA",
}
_HEAD = 200_000  # characters; UPF files may hold the generator's whole input before the header


@dataclass(frozen=True, slots=True)
class Pseudo:
    """What the header of a file says.

    Attributes:
        path: the file.
        symbol: element.
        functional: PBE, PBEsol, LDA, ... or the program's own words.
        valence: electrons that are computed.
        plain: norm-conserving, so that the density needs no cutoff of its own.
        relativistic: with spin-orbit coupling, which no engine here uses.
        cutoff: what the file recommends [eV]; 0 where it says nothing.
    """

    path: Path
    symbol: str
    functional: str
    valence: float
    plain: bool = True
    relativistic: bool = False
    cutoff: float = 0.0

    def checksum(self) -> str:
        """A few digits that change with the content."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:12]


Read = Callable[[Path], Pseudo | None]


def read_upf(path: Path) -> Pseudo | None:
    """A file in UPF, version 1 or 2; None for anything else."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(_HEAD)
    found = re.search(
        r"<PP_HEADER(?P<fields>[^>]*?)/?>(?P<lines>.*?)(?:</PP_HEADER|<PP_MESH)", text, re.DOTALL
    )
    if found is None:
        return None
    fields = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', found["fields"]))
    if fields:
        plain = fields.get("pseudo_type", "NC").strip().upper() in ("NC", "SL")
        spin_orbit = fields.get("relativistic", "").strip() == "full"
        words, symbol, valence = fields["functional"], fields["element"], fields["z_valence"]
    else:
        lines = {
            meaning: value
            for value, meaning in re.findall(
                r"^\s*(\S.*?)\s+(Element|Norm|Ultrasoft|Exchange-Corr|Z valence)",
                found["lines"],
                re.MULTILINE,
            )
        }
        plain = lines.keys().isdisjoint({"Ultrasoft"})
        spin_orbit = "<PP_ADDINFO" in text
        # a fifth word repeats the whole as one name
        words = " ".join(lines["Exchange-Corr"].split()[:4])
        symbol, valence = lines["Element"], lines["Z valence"]
    words = " ".join(words.split())
    return Pseudo(
        path,
        symbol.strip().capitalize(),
        _QE_NAMES.get(words.upper(), words),
        float(valence.replace("D", "E")),
        plain,
        spin_orbit,
    )


def read_psp8(path: Path) -> Pseudo | None:
    """A norm-conserving file of ABINIT (psp8); None for anything else."""
    from ase.data import chemical_symbols

    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [file.readline().split() for _ in range(6)]
    try:
        number, valence = int(float(lines[1][0])), float(lines[1][1])
        code, functional = int(lines[2][0]), int(lines[2][1])
        spin_orbit = int(lines[5][0]) in (2, 3)
    except (IndexError, ValueError):
        return None
    if code != 8 or not 0 < number < len(chemical_symbols):
        return None
    name = _ABINIT_NAMES.get(functional, f"ixc {functional}")
    return Pseudo(path, chemical_symbols[number], name, valence, relativistic=spin_orbit)


def read_potcar(path: Path) -> Pseudo | None:
    """A POTCAR of one element; None for anything else."""
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(4000)
    fields = dict(re.findall(r"(\w+)\s*=\s*([^\s;]+)", text))
    if not {"VRHFIN", "LEXCH", "ZVAL", "ENMAX"} <= fields.keys():
        return None
    words = fields["LEXCH"].upper()
    return Pseudo(
        path,
        fields["VRHFIN"].strip("=:"),
        {"PE": "PBE", "CA": "LDA", "PS": "PBEsol"}.get(words, words),
        float(fields["ZVAL"]),
        cutoff=float(fields["ENMAX"]),
    )


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
