"""The campaign file: every mistake is named with its line, and what is written reads back."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.config import (
    ELEMENTS,
    ROLES,
    CampaignConfig,
    ConfigError,
    config_hash,
    from_resolved,
    load,
    resolved,
    to_yaml,
)
from aga.config_changes import changes, refusal
from aga.config_schema import json_schema
from aga.search import acquisition
from aga.search.acquisition import Acquisition
from aga.search.acquisition.lower_confidence_bound import LowerConfidenceBound
from aga.search.compositions import named

CONFIGS = Path(__file__).parents[1] / "configs"
GOOD = """\
version: 1
name: trial
composition: {Cu: 2, Au: 2}
engine:
  kind: emt
search:
  initial_labels: 8
budget:
  labels: 60
"""


def write(folder, text, name="campaign.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaints(folder, text):
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    return [line.removeprefix(f"{folder}/") for line in caught.value.messages]


def config(**changed):
    data = {"name": "trial", "composition": {"Cu": 2, "Au": 2}, "engine": {"kind": "emt"}}
    return CampaignConfig.model_validate(data | changed)


def test_defaults_are_written_out(tmp_path):
    found = resolved(load(write(tmp_path, GOOD)))
    assert found["potential"]["members"] == 4
    assert found["search"]["acquisition"]["kind"] == "lower_confidence_bound"
    assert found["cluster"]["kind"] == "local"
    assert found["overlap"] is True


@pytest.mark.parametrize("path", sorted((CONFIGS / "campaigns").glob("*.yaml")), ids=str)
def test_shipped_campaigns_load(path):
    assert load(path).name == path.stem


@pytest.mark.parametrize("path", sorted((CONFIGS / "clusters").glob("*.yaml")), ids=str)
def test_shipped_clusters_load(path, tmp_path):
    loaded = load(write(tmp_path, GOOD + f"cluster: {path}\n"))
    assert f"kind: {loaded.cluster.kind}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("version: 1", "version: 2", "1: version:", "expected 1, got 2"),
        ("name: trial", "name: 7", "2: name:", "expected text (in quotes if it looks like a numb"),
        ("name: trial", "name: a/b", "2: name:", "letters, digits"),
        ("name: trial\n", "", "1: name:", "required, but not given: Name of the run"),
        ("{Cu: 2, Au: 2}", "{Cuu: 2}", "3: composition.Cuu:", "(did you mean 'Cu'?)"),
        ("{Cu: 2, Au: 2}", "{cu: 2}", "3: composition.cu:", "(did you mean 'Cu'?)"),
        ("{Cu: 2, Au: 2}", "{29: 2}", "3: composition.29:", "symbol of an element, got '29'"),
        ("{Cu: 2, Au: 2}", "{Cu: 0}", "3: composition.Cu:", "a number greater than 0, got 0"),
        ("{Cu: 2, Au: 2}", "{Cu: 1.5}", "3: composition.Cu:", "a whole number, got 1.5"),
        ("{Cu: 2, Au: 2}", "{}", "3: composition:", "at least 1 item"),
        ("{Cu: 2, Au: 2}", "[Cu]", "3: composition:", "a mapping of keys to values, got ['Cu']"),
        ("engine:\n  kind: emt", "engine: emt", "4: engine:", "such as {kind: emt}, got 'emt'"),
        ("kind: emt", "kind: gpwa", "5: engine.kind:", "gpaw"),
        ("kind: emt", "cutoff: 3", "4: engine", "kind"),
        ("kind: emt", "kind: gpaw\n  ecut: 3", "6: engine.ecut:", "(did you mean 'ecut_ev'?)"),
        ("kind: emt", "kind: gpaw\n  ecut_ev: -3", "6: engine.ecut_ev:", "greater than 0, got -3"),
        ("kind: emt", "kind: emt\n  1: 2", "6: engine.1:", "unknown key"),
        ("initial_labels", "inital_labels", "7: search.inital_labels:", "mean 'initial_labels'?"),
        ("initial_labels: 8", "labels: {a: 1}", "7: search.labels:", "unknown key"),
        ("initial_labels: 8", "spacegroups: [1, 231]", "7: search.spacegroups:", "got [231]"),
        ("initial_labels: 8", "spacegroups: [9, 3]", "7: search.spacegroups:", "got [9, 3]"),
        ("initial_labels: 8", "structures: [no*.cif]", "7: search.structures:", "no*.cif"),
        ("initial_labels: 8", "operators: []", "7: search.operators:", "at least one"),
        ("initial_labels: 8", "operators:\n    - {kind: zz}", "8: search.operators.0.kind:", "zz"),
        ("labels: 60", "labels: 5", "8: budget:", "must cover search.initial_labels (8)"),
        ("labels: 60", "hours: .inf", "9: budget.hours:", "a number, got 'inf"),
        ("labels: 60", "hours: 2026-01-01", "9: budget.hours:", "a number, got '2026-01-01"),
        ("  labels: 60", "", "8: budget:", "a mapping of keys to values, got nothing"),
        ("budget:", "patience_labels: 3\nbudget:", "8: patience_labels:", "'stop.patience_labels'"),
        ("budget:", "overlap: 3\nbudget:", "8: overlap:", "true or false, got 3"),
        ("budget:", "dimension: slab\nbudget:", "8: dimension:", "'bulk' or 'cluster'"),
        ("budget:", "cluster: serial\nbudget:", "8: cluster:", "(did you mean {kind: serial}?)"),
        ("budget:", "potential: {bootstrap: poison}\nbudget:", "8: pot", "(did you mean 'poisson'"),
        (
            "budget:",
            "potential:\n  descriptor: {kind: moments, cutof: 3}\nbudget:",
            "9: potential.descriptor.cutof:",
            "(did you mean 'cutoff'?)",
        ),
        ("search:", "search: {seed: 1", "7:", "expected"),  # a bracket left open
        ("budget:", "seed: 1\nseed: 2\nbudget:", "9:", 'duplicate key "seed"'),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, where, said):
    assert old in GOOD
    lines = complaints(tmp_path, GOOD.replace(old, new))
    assert len(lines) == 1
    assert lines[0].startswith(f"campaign.yaml:{where}")
    assert said in lines[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version: 1", "pressure_gpa: 1", "a cluster has no volume to press on"),
        ("composition: {Cu: 2, Au: 2}", "compositions: {formulas: [CuAu]}", "give one composition"),
        ("kind: emt", "kind: chgnet", "the engine chgnet computes crystals only"),
        ("initial_labels: 8", "spacegroups: [2, 9]", "clusters draw point groups"),
        ("initial_labels: 8", "operators: [{kind: strain}]", "makes bulk, not cluster"),
    ],
)
def test_what_makes_no_sense_of_clusters_is_refused(tmp_path, old, new, said):
    (line,) = complaints(tmp_path, "dimension: cluster\n" + GOOD.replace(old, new))
    assert said in line


def test_operators_of_clusters_make_no_crystals(tmp_path):
    text = GOOD.replace("initial_labels: 8", "operators: [{kind: twist}, {kind: rattle}]")
    (line,) = complaints(tmp_path, text)
    assert "the operator twist makes cluster, not bulk" in line
    assert load(write(tmp_path, "dimension: cluster\n" + text)).dimension == "cluster"


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path):
    text = GOOD.replace("name: trial", "nam: trial").replace("emt", "etm").replace("60", "many")
    found = [line.split(":")[1:3] for line in complaints(tmp_path, text + "seed: 1\nseed: 2\n")]
    assert found == [
        ["11", ' found duplicate key "seed"; a key may stand once in a mapping'],
        ["1", " name"],
        ["2", " nam"],
        ["5", " engine.kind"],
        ["9", " budget.labels"],
    ]


SEVERAL = """\
version: 1
name: hull
compositions:
  elements: [Cu, Au]
  atoms: [2, 4]
  charges:
  references:
    - {formula: Au, enthalpy_ev_per_atom: -0.0003}
engine:
  kind: emt
budget:
  labels: 60
"""


def test_several_compositions(tmp_path):
    found = load(write(tmp_path, SEVERAL))
    names = ["AuCu", "Au2Cu", "AuCu2", "Au2Cu2", "Au3Cu", "AuCu3"]
    assert [named(counts) for counts in found.cells] == names
    assert found.compositions.ends == ({"Cu": 1},)
    assert found.elements == ["Au", "Cu"]
    assert found.question == "Au-Cu, 6 compositions of 2 to 4 atoms"
    assert load(write(tmp_path, to_yaml(found), "again.yaml")) == found
    assert from_resolved(json.loads(json.dumps(resolved(found)))) == found
    assert config().question == "Au2Cu2, 4 atoms"


def compositions(**data):
    return config(composition=None, compositions=data).compositions


def test_formulas_instead_of_a_range():
    found = compositions(formulas=["Cu3Au", "Cu2Au2", "AuCu3"])
    assert found.cells == ({"Au": 2, "Cu": 2}, {"Au": 1, "Cu": 3})
    assert found.ends == ({"Au": 1}, {"Cu": 1})


def test_with_charges_the_outermost_neutral_compositions_are_the_ends():
    charges = {"Mg": 2, "Si": 4, "O": -2}
    found = compositions(elements=["Mg", "Si", "O"], atoms=[1, 7], charges=charges)
    assert {named(counts) for counts in found.cells} == {
        "MgO",
        "Mg2O2",
        "Mg3O3",
        "O2Si",
        "O4Si2",
        "MgO3Si",
        "Mg2O4Si",
    }
    assert [named(counts) for counts in found.ends] == ["MgO", "O2Si"]
    known = compositions(
        elements=["Mg", "Si", "O"],
        atoms=[1, 7],
        charges=charges,
        references=[{"formula": "Si3O6", "enthalpy_ev_per_atom": -8.0}],
    )
    assert [named(counts) for counts in known.ends] == ["MgO"]


def test_one_ratio_in_cells_of_several_sizes_has_no_ends():
    assert compositions(elements=["Si"], atoms=[1, 3]).ends == ()
    assert compositions(formulas=["TiO2", "Ti2O4"]).ends == ()


@pytest.mark.parametrize(
    ("old", "new", "where", "said"),
    [
        ("compositions:", "composition: {Cu: 2}\ncompositions:", "4: compositions:", "got both"),
        ("[Cu, Au]", "[Cu, Aau]", "4: compositions.elements.1:", "(did you mean 'Au'?)"),
        ("[2, 4]", "[4, 2]", "5: compositions.atoms:", "[lowest, highest], got [4, 2]"),
        ("[2, 4]", "[0, 4]", "5: compositions.atoms:", "one atom or more, got [0, 4]"),
        ("[2, 4]", "[1, 1]", "5: compositions.atoms:", "no compound of 2 elements has 1 atom"),
        ("[2, 4]", "[1, 80]", "6: compositions.charges:", "are more than 1000"),
        ("[2, 4]", "[1, 800]", "5: compositions.atoms:", "more than 100000 compositions"),
        ("  atoms: [2, 4]\n", "  formulas: [CuAu]\n", "4: compositions.elements:", "got both"),
        ("  elements: [Cu, Au]\n  atoms: [2, 4]\n", "", "3: compositions.elements:", "neither"),
        ("  atoms: [2, 4]\n", "", "3: compositions.atoms:", "atoms together with elements"),
        ("charges:", "charges: {Cu: 1}", "6: compositions.charges:", "got none of Au"),
        ("charges:", "charges: {Cu: 1, Au: 2}", "6: compositions.charges:", "got 0: take other"),
        ("charges:", "charges: {Cu: [2, 1]}", "6: compositions.charges.Cu:", "got [2, 1]"),
        ("{formula: Au,", "{formula: Ag,", "7: compositions.references:", "Ag holds Ag, which is"),
        ("formula: Au,", "formula: au,", "8: compositions.references.0.formula:", "such as Ti2O4"),
        ("_atom: -0.0003", "_atom: low", "8: compositions.references.0.enthalpy_ev", "a number"),
        ("labels: 60", "labels: 15", "11: budget:", "labels (8), 4 of end members and confirm"),
        ("budget:", "search: {volume_per_atom: 9}\nbudget:", "11: search:", "leave it out"),
    ],
)
def test_a_mistake_in_several_compositions_is_named(tmp_path, old, new, where, said):
    assert old in SEVERAL
    lines = complaints(tmp_path, SEVERAL.replace(old, new))
    assert len(lines) == 1
    assert lines[0].startswith(f"campaign.yaml:{where}")
    assert said in lines[0]


def test_one_of_composition_and_compositions_is_asked_for(tmp_path):
    (line,) = complaints(tmp_path, GOOD.replace("composition: {Cu: 2, Au: 2}\n", ""))
    assert "expected either composition or compositions, got neither" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "campaign.yaml:1: the file is empty"),
        ("# nothing\n", "campaign.yaml:1: the file is empty"),
        ("- a\n", "campaign.yaml:1: expected a mapping of keys to values, got a list"),
        ("word\n", "campaign.yaml:1: expected a mapping of keys to values, got 'word'"),
        ("a: 1\n\tb: 2\n", "campaign.yaml:2: "),
        ("a: 1\nb: [\n", "campaign.yaml:3: "),
        ("a: " + "[" * 1500, "campaign.yaml:1: nested too deep to be read"),
        ("a: 1\n---\nb: 1\n", "campaign.yaml:2: but found another document"),
        ("a: \x07\n", "campaign.yaml:1: not readable as YAML"),
    ],
)
def test_a_file_that_is_no_mapping(tmp_path, text, said):
    (line,) = complaints(tmp_path, text)
    assert line.startswith(said)


def test_a_file_that_cannot_be_read(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    for path, said in (
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "got a folder"),
        (binary, "expected UTF-8 text"),
    ):
        with pytest.raises(ConfigError, match=said):
            load(path)


def test_yaml_of_version_1_2(tmp_path):
    text = GOOD.replace("{Cu: 2, Au: 2}", "{Y: 1, No: 2}") + "relaxation: {fmax_ev_per_a: 1e-3}\n"
    found = load(write(tmp_path, text))
    assert found.composition == {"No": 2, "Y": 1}
    assert found.relaxation.fmax_ev_per_a == 0.001


def test_a_mistake_in_the_cluster_file_is_named_there(tmp_path):
    write(tmp_path, "kind: local\n# two\ndft_wokers: 2\n", "two.yaml")
    (line,) = complaints(tmp_path, GOOD + "cluster: two.yaml\n")
    assert line == "two.yaml:3: cluster.dft_wokers: unknown key (did you mean 'dft_workers'?)"


def test_structures_become_absolute_and_sorted(tmp_path):
    for name in ("b.cif", "a.cif", "c [1].cif"):
        write(tmp_path, "data_x", name)
    text = GOOD.replace("initial_labels: 8", 'structures: ["c [1].cif", "*.cif"]')
    found = load(write(tmp_path, text))
    names = [str(tmp_path / name) for name in ("c [1].cif", "a.cif", "b.cif")]
    assert list(found.search.structures) == names
    assert load(write(tmp_path, to_yaml(found), "again.yaml")) == found
    (tmp_path / "a.cif").unlink()
    assert from_resolved(resolved(found)) == found


def test_space_groups_are_a_range_or_a_list():
    groups = {
        given_groups: config(search={"spacegroups": given_groups}).search.groups()
        for given_groups in ((2, 5), (2, 5, 9), (7,))
    }
    assert groups == {(2, 5): (2, 3, 4, 5), (2, 5, 9): (2, 5, 9), (7,): (7,)}


POSITIVE = st.floats(1e-9, 1e9)
CAMPAIGNS = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True),
        "composition": st.dictionaries(
            st.sampled_from(ELEMENTS), st.integers(1, 99), min_size=1, max_size=9
        ),
        "engine": st.one_of(
            st.fixed_dictionaries({"kind": st.just("emt")}),
            st.fixed_dictionaries({"kind": st.just("gpaw"), "ecut_ev": POSITIVE}),
        ),
    },
    optional={
        "pressure_gpa": st.floats(-1e6, 1e6),
        "seed": st.integers(0, 2**63),
        "overlap": st.booleans(),
        "retrain_after": st.none() | st.integers(1, 9),
        "relaxation": st.fixed_dictionaries({"fmax_ev_per_a": POSITIVE}),
        "cluster": st.sampled_from([{"kind": "serial"}, {"kind": "local", "dft_workers": 3}]),
        "search": st.fixed_dictionaries(
            {
                "volume_per_atom": st.none() | POSITIVE,
                "spacegroups": st.lists(st.integers(1, 230), min_size=3),
                "structures": st.lists(st.text(st.characters(codec="utf-8"), max_size=9)),
            }
        ),
    },
)


@settings(max_examples=60, deadline=None)
@given(CAMPAIGNS)
def test_what_is_written_reads_back(data):
    first = CampaignConfig.model_validate(data)
    again = from_resolved(json.loads(json.dumps(resolved(first))))
    assert again == first
    assert config_hash(again) == config_hash(first)


@settings(max_examples=40, deadline=None)
@given(data=CAMPAIGNS)
def test_the_yaml_written_reads_back(data, tmp_path_factory):
    data.get("search", {}).pop("structures", None)  # no such files
    first = CampaignConfig.model_validate(data)
    assert load(write(tmp_path_factory.mktemp("yaml"), to_yaml(first))) == first


def test_the_order_of_elements_means_nothing():
    assert config_hash(config(composition={"Au": 2, "Cu": 2})) == config_hash(config())
    assert list(config(composition={"Cu": 2, "Au": 1}).composition) == ["Au", "Cu"]
    assert config(composition={"Cu": 2, "Au": 1}).elements == ["Au", "Cu"]


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"budget": {"labels": 90}}, "budget.labels"),
        ({"cluster": {"kind": "serial"}}, "cluster.kind"),
        ({"stop": {"patience_labels": 30}}, "stop.patience_labels"),
        ({"confirm": {"structures": 5}}, "confirm.structures"),
        ({"search": {"batch": 7}}, "search.batch"),
        ({"relaxation": {"max_steps": 300}}, "relaxation.max_steps"),
        ({"engine": {"kind": "emt", "deadline_s": 9}}, "engine.deadline_s"),
        ({"overlap": False}, "overlap"),
        ({"name": "other"}, "name"),
    ],
)
def test_changes_that_a_run_takes(changed, key):
    found = changes(config(), config(**changed))
    assert key in [change.key for change in found]
    assert all(change.allowed for change in found)
    assert refusal(found) == ""


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"composition": {"Cu": 4, "Au": 2}}, "composition.Cu: 2 -> 4"),
        ({"composition": {"Cu": 2, "Au": 2, "Ag": 1}}, "composition.Ag: None -> 1"),
        ({"pressure_gpa": 5.0}, "pressure_gpa: 0.0 -> 5.0"),
        ({"seed": 3}, "seed: 0 -> 3"),
        ({"engine": {"kind": "gpaw"}}, "engine.kind: emt -> gpaw"),
        ({"potential": {"members": 6}}, "potential.members: 4 -> 6"),
    ],
)
def test_changes_that_a_run_refuses(changed, key):
    found = changes(config(), config(**changed, budget={"labels": 90}))
    assert "budget.labels" in [change.key for change in found if change.allowed]
    message = refusal(found)
    assert key in message
    assert "--run-dir" in message
    assert "budget" not in message


def test_only_engine_fields_that_alter_labels_are_refused():
    before = config(engine={"kind": "gpaw"})
    after = config(engine={"kind": "gpaw", "ecut_ev": 400, "deadline_s": 5})
    assert {change.key: change.allowed for change in changes(before, after)} == {
        "engine.ecut_ev": False,
        "engine.deadline_s": True,
    }


def test_nothing_changed():
    assert changes(config(), config()) == []


def test_schema_knows_every_kind():
    schema = json_schema()
    for role, kinds in ROLES.items():
        union = schema["$defs"][role.__name__]
        assert set(union["discriminator"]["mapping"]) == set(kinds())
        without = [
            name
            for name, ref in union["discriminator"]["mapping"].items()
            if "kind" not in schema["$defs"][ref.rpartition("/")[2]].get("required", [])
        ]
        assert without == ([acquisition.DEFAULT] if role is Acquisition else [])


def test_a_rule_without_a_kind_is_the_default_one():
    given = config(search={"acquisition": {"explore": 0.2}})
    assert given.search.acquisition == LowerConfidenceBound(explore=0.2)


def test_every_field_of_a_section_is_described():
    for name, model in json_schema()["$defs"].items():
        if name.endswith("Config"):
            bare = [key for key, field in model["properties"].items() if "description" not in field]
            assert bare == [], name


def test_reading_settings_imports_nothing_heavy():
    code = "import aga.config, aga.cli, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=CONFIGS.parent,
    )
    heavy = {"torch", "pymatgen", "pyxtal", "dask", "distributed", "gpaw", "chgnet", "matplotlib"}
    assert heavy & set(done.stdout.split()) == set()
