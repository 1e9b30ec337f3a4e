"""Pseudopotential files are told apart by their headers, and sets of two functionals refused."""

import pytest

from calculators.engines import build
from calculators.engines._headers import read_potcar, read_psp8, read_upf
from calculators.engines._pseudo import choose
from tests.pseudo_files import potcar, psp8, upf, upf1

LDA = " SLA  PZ   NOGX NOGC"


@pytest.fixture
def folder(tmp_path):
    """A set of PBE with one element that has LDA alone, and one that has two files."""
    upf(tmp_path / "a.UPF", "Si")
    upf(tmp_path / "b.upf", "Ti", valence=12.0)
    upf(tmp_path / "c.UPF", "Al", functional=LDA, valence=3.0)
    upf(tmp_path / "d.UPF", "O", valence=6.0)
    upf(tmp_path / "e.UPF", "O", valence=6.0, kind="US")
    upf(tmp_path / "f.UPF", "Si", relativistic="full")
    (tmp_path / "README").write_text("not a pseudopotential")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "functional"),
    [
        (" SLA  PW   PBX  PBC", "PBE"),
        (" SLA  PW   PBE  PBE", "PBE"),
        ("PBE", "PBE"),
        ("PBESOL", "PBEsol"),
        (" SLA  PW   PSX  PSC", "PBEsol"),
        (LDA, "LDA"),
        (" SLA  PW   TPSS TPSS", "SLA PW TPSS TPSS"),
    ],
)
def test_upf_header(tmp_path, words, functional):
    for write in (upf, upf1):
        if write is upf1 and len(words.split()) == 1:
            continue  # version 1 has four words and the name of all
        name = f"{words}  {functional}" if write is upf1 else words
        pseudo = read_upf(write(tmp_path / "x.UPF", "Fe", functional=name, valence=16.0))
        assert (pseudo.symbol, pseudo.functional, pseudo.valence) == ("Fe", functional, 16.0)
        assert pseudo.plain
        assert not read_upf(write(tmp_path / "x.UPF", "Fe", kind="US")).plain


def test_psp8_header(tmp_path):
    pseudo = read_psp8(psp8(tmp_path / "x", 26, valence=16.0))
    assert (pseudo.symbol, pseudo.functional, pseudo.valence) == ("Fe", "PBE", 16.0)
    assert read_psp8(psp8(tmp_path / "x", 26, functional=7)).functional == "LDA"
    assert read_psp8(psp8(tmp_path / "x", 26, functional=-106131)).functional == "ixc -106131"
    assert read_psp8(psp8(tmp_path / "x", 26, extension=3)).relativistic


def test_potcar_header(tmp_path):
    potcar(tmp_path, "Ti_sv", cutoff=274.61, valence=12.0)
    pseudo = read_potcar(tmp_path / "Ti_sv" / "POTCAR")
    assert (pseudo.symbol, pseudo.functional, pseudo.valence) == ("Ti", "PBE", 12.0)
    assert pseudo.cutoff == 274.61
    potcar(tmp_path / "lda", "Ti", exchange="CA")
    assert read_potcar(tmp_path / "lda" / "Ti" / "POTCAR").functional == "LDA"


@pytest.mark.parametrize("read", [read_upf, read_psp8, read_potcar])
def test_other_files_are_none(tmp_path, read):
    for content in ("", "one line", "a\nb\nc d\n8 11\n", "<PP_HEADER"):
        (tmp_path / "x").write_text(content)
        assert read(tmp_path / "x") is None


def test_one_file_of_the_functional_is_chosen(folder):
    found, problems = choose(["Ti", "Si"], folder, {}, "PBE", read_upf)
    assert problems == []
    assert {symbol: pseudo.path.name for symbol, pseudo in found.items()} == {
        "Si": "a.UPF",  # not the one with spin-orbit coupling
        "Ti": "b.upf",
    }


@pytest.mark.parametrize(
    ("symbols", "names", "xc", "words"),
    [
        (["Po"], {}, "PBE", "no pseudopotential for Po"),
        (["Al"], {}, "PBE", "holds no PBE file for Al, only c.UPF (LDA)"),
        (["O"], {}, "PBE", "several PBE files for O: d.UPF (PBE), e.UPF (PBE). Name the one"),
        (["Si"], {"Si": "z.UPF"}, "PBE", "no 'z.UPF' for Si"),
        (["Si"], {"Si": "b.upf"}, "PBE", "'b.upf' in {folder} is one of Ti, not one of Si"),
        (["Si"], {"Si": "README"}, "PBE", "is no pseudopotential, not one of Si"),
        (["Al"], {"Al": "c.UPF"}, "PBE", "are of LDA, not of PBE"),
        (["Al", "Si"], {"Al": "c.UPF", "Si": "a.UPF"}, "PBE", "mix functionals (LDA, PBE)"),
        (["Si", "Al"], {"Si": "a.UPF"}, "LDA", "mix functionals (LDA, PBE): a.UPF (PBE)"),
    ],
)
def test_what_is_wrong_with_a_set(folder, symbols, names, xc, words):
    _, problems = choose(symbols, folder, names, xc, read_upf)
    text = " ".join(problems)
    assert words.format(folder=folder) in text


def test_a_named_file_settles_a_choice(folder):
    found, problems = choose(["O"], folder, {"O": "e.UPF"}, "PBE", read_upf)
    assert problems == []
    assert found["O"].path.name == "e.UPF"


# engines that use them


@pytest.fixture
def engine(folder, monkeypatch):
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(folder))
    return build({"kind": "espresso", "command": "python3"})


def test_settling_writes_out_what_depends_on_the_elements(engine):
    assert "is not settled" in engine.problems(["Si"])[0]
    silicon, both = engine.settled(["Si"]), engine.settled(["Si", "Ti"])
    assert silicon.problems(["Si"]) == []
    assert both.problems(["Si"]) == both.problems(["Ti"]) == both.problems(["Si", "Ti"]) == []
    assert silicon.ecut_ev == pytest.approx(408.2, abs=0.1)  # 30 Ry
    assert both.ecut_ev == pytest.approx(1224.5, abs=0.1)  # 90 Ry
    assert both.settled(["Si"]) == both
    assert both.pseudopotentials == {"Si": "a.UPF", "Ti": "b.upf"}
    # an element that the campaign does not have was never settled
    assert "is not settled" in silicon.problems(["Ti"])[0]


def test_a_cutoff_that_is_given_stays(engine):
    assert engine.overridden({"ecut_ev": 500.0}).settled(["Ti"]).ecut_ev == 500.0


def test_augmented_files_need_a_denser_density(engine):
    soft = engine.overridden({"pseudopotentials": {"O": "e.UPF"}})
    hard = engine.overridden({"pseudopotentials": {"O": "d.UPF"}})
    assert soft.settled(["O"]).density_factor == 10.0
    assert hard.settled(["O"]).density_factor == 4.0


def test_the_content_of_files_is_part_of_the_key_and_their_place_is_not(engine, folder, tmp_path):
    key = engine.settled(["Si"]).key()
    (tmp_path / "other").mkdir()
    moved = engine.overridden({"pseudo_dir": str(tmp_path / "other")})
    upf(tmp_path / "other" / "silicon.UPF", "Si")
    assert moved.settled(["Si"]).key() == key
    upf(tmp_path / "other" / "silicon.UPF", "Si", valence=12.0)
    assert moved.settled(["Si"]).key() != key


def test_a_file_that_changes_under_a_campaign_is_refused(engine, folder):
    settled = engine.settled(["Si"])
    upf(folder / "a.UPF", "Si", valence=12.0)
    (problem,) = settled.problems(["Si"])
    assert "is not the file that this campaign started with" in problem


def test_a_campaign_file_is_settled_when_it_is_read(engine, folder, tmp_path):
    from aga.config import from_resolved, load, resolved

    path = tmp_path / "campaign.yaml"
    path.write_text(
        "version: 1\nname: trial\ncomposition: {Si: 2, Ti: 2}\n"
        f"engine: {{kind: espresso, pseudo_dir: {folder}, command: python3}}\n"
    )
    config = load(path)
    assert set(config.engine.checksums) == {"Si", "Ti"}
    assert config.engine.problems(config.elements) == []
    assert from_resolved(resolved(config)) == config


def test_what_is_missing_is_said_without_running_anything(monkeypatch, tmp_path):
    for name in ("ESPRESSO_PSEUDO", "ABINIT_PP_PATH", "VASP_PP_PATH", "CP2K_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind, program in (("espresso", "pw.x"), ("abinit", "abinit"), ("vasp", "vasp_std")):
        first, second = build({"kind": kind}).problems(["Si"])
        assert f"finds no program '{program}' on PATH" in first
        assert "has no pseudopotentials: set pseudo_dir" in second
    first, second = build({"kind": "cp2k"}).problems(["Si"])
    assert "finds no program 'cp2k_shell.psmp' on PATH" in first
    assert "set data_dir" in second
    (problem, *_) = build({"kind": "espresso", "pseudo_dir": "/none"}).problems(["Si"])
    assert "pw.x" in problem
