"""What the header of a pseudopotential file says: UPF, psp8, POTCAR."""

import hashlib
import re
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
