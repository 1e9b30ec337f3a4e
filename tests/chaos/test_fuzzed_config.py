"""A campaign file with any mistake is a valid configuration or a clear refusal, never a traceback.

The project's own examples are changed at random: as data (wrong types, missing, unknown and swapped
keys, absurd numbers, odd text, depth), and as text (bytes, lines, tokens of YAML).
"""

import io
import re
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from aga import cli
from aga.config import from_resolved, load, resolved, to_yaml
from aga.yaml_plain import plain
from potentials import roles

CONFIGS = Path(__file__).parents[2] / "configs"
EXAMPLES = sorted((CONFIGS / "campaigns").glob("*.yaml"))
CLUSTERS = sorted((CONFIGS / "clusters").glob("*.yaml"))

QUICK = settings(
    max_examples=60,
    deadline=None,  # a hang is ended by the time limit of the test
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DEEP = settings(QUICK, max_examples=3000)

NUMBERS = st.one_of(
    st.sampled_from([0, -1, 1, 2, 10**6, 10**18, -(10**18), 10**400]),
    st.sampled_from([0.5, -0.0, 1e-300, 1e300, 1e18, float("nan"), float("inf"), -float("inf")]),
)
TEXTS = st.one_of(
    st.sampled_from(["", " ", "0", "yes", "Cu", "cu", "Xx", "D", "X", "Og", "emt", "gpaw", "1:2"]),
    st.sampled_from(["é", "日本", "😀" * 50, "\u202eabc", "a\0b", "\x85", "\ud7ff", "a" * 5000]),
    st.sampled_from(["a/" * 500, "../../..", "é.yaml", "~nobody-at-all/x", "~", "/", ".", ".."]),
    st.sampled_from(["*", "a**b", "[", "'", '"', "{xc}", "{0}", "{", "%s"]),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.text(max_size=8), st.integers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(TEXTS, st.integers(), st.booleans(), st.none()), inner, max_size=3
        ),
    ),
    max_leaves=6,
)

#: what a hand, an editor or a foreign tool leaves in a file
TOKENS = st.one_of(
    st.sampled_from(["\t", "\0", "\ufeff", "\u2028", "\r", "\r\n", "é", "`", "@", "#", "| ", ">"]),
    st.sampled_from([":", "- ", "? ", "{", "}", "[", "]", "'", '"', ", ", "[" * 300, "- " * 300]),
    st.sampled_from(["&a ", "*a", "<<: *a", "---\n", "...\n", "%YAML 1.1\n---\n", "null", "~"]),
    st.sampled_from(["!!binary ", "!!set ", "!x ", "!!python/object:os.system ", "!!float x"]),
    st.sampled_from(["!!int x", "!!omap [", "!!timestamp 2", "2026-01-01", "1_000", "1e999"]),
    st.sampled_from(["0x" + "f" * 5000, "9" * 5000]),
)


def places(node, path=()):
    """Every place of a tree of plain data."""
    yield path
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*path, key))


@st.composite
def changed_data(draw, paths):
    """An example with some of its values replaced, removed, renamed, repeated or wrapped."""
    tree = YAML(typ="safe", pure=True).load(draw(st.sampled_from(paths)))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(list(places(tree))))
        if not path:
            continue
        *above, key = path
        node = tree
        for step in above:
            node = node[step]
        kind = draw(
            st.sampled_from(["value", "value", "value", "gone", "named", "wrapped", "more"])
        )
        if kind == "value":
            node[key] = draw(VALUES)
        elif kind == "gone":
            del node[key]
        elif kind == "wrapped":
            node[key] = draw(st.sampled_from([[node[key]], {key: node[key]}, str(node[key])]))
        elif isinstance(node, dict):
            value = node.pop(key) if kind == "named" else node[key]
            node[draw(st.one_of(TEXTS, st.integers(), st.just(f"{key}s")))] = value
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.allow_unicode = True
    writer.dump(tree, stream)
    return stream.getvalue().encode("utf-8", "surrogatepass")


@st.composite
def changed_text(draw, paths):
    """An example with bytes and lines removed, doubled and put in."""
    text = draw(st.sampled_from(paths)).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        upto = min(len(text), at + draw(st.integers(0, 40)))
        kind = draw(st.sampled_from(["token", "bytes", "gone", "cut", "lines", "twice"]))
        if kind == "token":
            text = text[:at] + draw(TOKENS).encode() + text[at:]
        elif kind == "bytes":
            text = text[:at] + draw(st.binary(max_size=6)) + text[upto:]
        elif kind == "gone":
            text = text[:at] + text[upto:]
        elif kind == "cut":
            text = text[:at]
        else:
            lines = text.splitlines(keepends=True) or [b""]
            place = draw(st.integers(0, len(lines) - 1))
            other = draw(st.integers(0, len(lines) - 1)) if kind == "lines" else place
            text = b"".join([*lines[:place], lines[other], *lines[place:]])
    return text


@pytest.fixture(autouse=True)
def nobody_outside(monkeypatch):
    """No host is asked for, and no list of installed packages read again for every file."""

    def refused(*_):
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(roles, "entry_points", lambda **_: ())


@pytest.fixture
def folder(tmp_path):
    """Campaigns that name a cluster file find it."""
    made = tmp_path / "campaigns"
    made.mkdir()
    (tmp_path / "clusters").symlink_to(CONFIGS / "clusters")
    return made


def judged(path, capsys, *arguments):
    """The exit code of a check and what it said; a refusal is of lines that say where."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", str(path), *map(str, arguments)])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    code = ended.value.code or 0
    assert code in {0, 2}
    if code == 2:
        assert re.match(rf"{re.escape(str(path.parent))}/[^:]+(:\d+)?: \S", said), said
    return code, said


def refused_or_read_back(folder, capsys, content):
    """What is accepted is the same when it is written out and read again."""
    path = folder / "fuzzed.yaml"
    path.write_bytes(content)
    if judged(path, capsys)[0] == 0:
        config = load(path)
        assert from_resolved(resolved(config)) == config
        path.write_text(to_yaml(config), encoding="utf-8")
        assert load(path) == config


def campaign_and_cluster(folder, capsys, content):
    campaign, cluster = folder / "good.yaml", folder / "cluster.yaml"
    campaign.write_text("name: x\ncomposition: {Cu: 2}\nengine: {kind: emt}\n", encoding="utf-8")
    cluster.write_bytes(content)
    judged(campaign, capsys, "--cluster", cluster)


BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


# what such files were answered with before: a traceback, a hang, or silence
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "got neither"),
        (BOMB, "more than 100000 values"),
        ("search: &s {operators: [*s]}", ":3: search.operators.0: expected a mapping"),
        ("search: &s {structures: &t [*t]}", ":3: search.structures"),
        ("search: " + "[" * 100 + "]" * 100, "nested deeper than 40 levels"),
        ("search: " + "[" * 5000 + "]" * 5000, ":3: nested too deep to be read"),
        ("search: " + "- " * 5000, ":3: nested too deep to be read"),
        ("# " + "x" * 2_000_000, "larger than 1 MB"),
        ("seed: 0x" + "f" * 5000, ":3: a whole number beyond 2^64"),
        ("pressure_gpa: 1" + "0" * 400, ":3: a whole number beyond 2^64"),
        ('retries: "a\\0b"', ":3: a text holds '\\x00', which is no character"),
        ('retries: "\\ud800"', ":3: "),
        ("seed: !!binary aGVsbG8=", ":3: a value with the tag"),
        ("seed: !mine 3", ":3: a value with the tag !mine"),
        ("overlap: !!set {a, b}", ":3: a value with the tag"),
        ("search: {structures: [~nobody-at-all/x.cif]}", ":3: search.structures: no such file"),
        ("search: {structures: [" + "a" * 5000 + "]}", ":3: search.structures: File name too long"),
        ('cluster: "~nobody-at-all/x.yaml"', "no such file"),
        ("cluster: " + "a" * 5000, "File name too long"),
        ("' ': 1", ":3: ' ': unknown key"),
        ("search: {operators: [{kind: [strain]}]}", "no operator"),
        ("composition: {Cu: 1000000000}", ":3: composition: expected at most 1000 atoms"),
        ("compositions: {formulas: [Cu999999999]}", "expected at most 1000 atoms"),
        ("compositions: {elements: [Cu], atoms: [1, 99000]}", "expected at most 1000 atoms"),
        ("cluster: {kind: address, address: 'tcp://" + "a" * 70 + ":1'}", "nobody answers"),
    ],
)
def test_a_bad_line(folder, capsys, monkeypatch, line, said):
    if "address" in line:
        monkeypatch.undo()  # the name is refused before anybody is asked
    engine = "" if line.startswith("engine") else "engine: {kind: emt}\n"
    composition = "" if "composition" in line or not line else "composition: {Cu: 2}\n"
    path = folder / "bad.yaml"
    path.write_text(f"name: x\n{engine}{line}\n{composition}", encoding="utf-8")
    code, told = judged(path, capsys)
    assert code == 2
    assert said in told


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("{kind: [gpaw]}", "no Engine"),
        ("{kind: {}}", "no Engine"),
        ("""{kind: abinit, command: "'abinit"}""", "engine.command: expected words as in a shell"),
        ("""{kind: cp2k, command: '"'}""", "engine.command: expected words as in a shell"),
        ("{kind: cp2k, potential: '{', data_dir: .}", "There is no BASIS_MOLOPT"),
        ("{kind: cp2k, data_dir: ~nobody-at-all/x}", "There is no BASIS_MOLOPT"),
        ("{kind: espresso, pseudo_dir: ~nobody-at-all/x}", "There is no folder"),
        ("{kind: vasp, pseudo_dir: ., pseudopotentials: {Cu: " + "a" * 5000 + "}}", "too long"),
    ],
)
def test_a_bad_engine(folder, capsys, engine, said):
    path = folder / "bad.yaml"
    text = f"name: x\ncomposition: {{Cu: 2}}\nengine: {engine}\n"
    path.write_text(text, encoding="utf-8")
    code, told = judged(path, capsys)
    assert code == 2
    assert said in told


@pytest.mark.parametrize("content", [b"", b"\n\n# nothing\n", b"\0\1\2\xff" * 99, b"\xff\xfea\0"])
def test_no_settings_at_all(folder, capsys, content):
    path = folder / "bad.yaml"
    path.write_bytes(content)
    assert judged(path, capsys)[0] == 2


def test_a_folder_is_no_campaign(folder, capsys):
    assert "got a folder" in judged(folder / ".." / "campaigns", capsys)[1]


def test_a_flag_with_an_anchor_is_a_flag(folder):
    path = folder / "x.yaml"
    text = "name: x\ncomposition: {Cu: 2}\nengine: {kind: emt}\noverlap: &no false\n"
    path.write_text(text, encoding="utf-8")
    assert load(path).overlap is False
    assert plain({"a": YAML().load("b: &x true")["b"]})["a"] is True


def test_an_anchor_may_be_used_again(folder, capsys):
    path = folder / "x.yaml"
    text = (
        "name: &x one\ncomposition: {Cu: 2}\nseed: &x 3\nengine: {kind: emt}\nretrain_after: *x\n"
    )
    path.write_text(text, encoding="utf-8")
    assert judged(path, capsys)[0] == 0
    assert load(path).retrain_after == 3


@given(content=changed_data(EXAMPLES))
@QUICK
def test_changed_data(folder, capsys, content):
    refused_or_read_back(folder, capsys, content)


@given(content=changed_text(EXAMPLES))
@QUICK
def test_changed_text(folder, capsys, content):
    refused_or_read_back(folder, capsys, content)


@given(content=st.one_of(changed_data(CLUSTERS), changed_text(CLUSTERS)))
@QUICK
def test_changed_clusters(folder, capsys, content):
    campaign_and_cluster(folder, capsys, content)


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("files", "check"),
    [(EXAMPLES, refused_or_read_back), (CLUSTERS, campaign_and_cluster)],
    ids=["campaigns", "clusters"],
)
@given(data=st.data())
@DEEP
@pytest.mark.timeout(3000)
def test_files_changed_thousands_of_times(folder, capsys, files, check, data):
    check(folder, capsys, data.draw(st.one_of(changed_data(files), changed_text(files))))
