"""What the README tells the reader to type exists: targets, commands, options, files, imports."""

import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from aga.cli import Format, app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELLS = {"console", "bash", "sh", "shell"}
OURS = {"aga", "calculators", "potentials"}
TARGETS = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
COMMANDS = get_command(app).commands
CHOICES = {"--format": list(Format)}
FILE = re.compile(r"(?<![\w/.<-])(?:configs|scripts|docs|tests)/[\w./-]*\w")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


def blocks(text, languages):
    """Fenced blocks of these languages."""
    fenced = re.findall(r"^[ ]*```(\w+)[^\n]*\n(.*?)^[ ]*```", text, re.MULTILINE | re.DOTALL)
    return [body for language, body in fenced if language in languages]


def commands(text):
    """Every simple command of the shell blocks, and inline ones of `aga` and `make`, as words."""
    lines = re.findall(r"(?<!`)`((?:aga|make) [^`\n]+)`(?!`)", text)
    for body in blocks(text, SHELLS):
        given = [line.strip() for line in body.replace("\\\n", " ").splitlines()]
        # with prompts, what has none is output
        typed = [line[2:] for line in given if line.startswith("$ ")]
        lines += typed or given
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                yield words
                words = []
            elif words or not re.match(r"[A-Z_]+=", word):  # not `NAME=value command`
                words.append(word)


def wrong_make(words):
    asked = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return [f"make {word}: no such target" for word in asked if word not in TARGETS]


def wrong_aga(words):
    """What `aga` would refuse: the subcommand, an option, too few or too many arguments."""
    if words[1:] in ([], ["--help"], ["--version"]):
        return []
    if words[1] not in COMMANDS:
        return [f"aga {words[1]}: no such command"]
    command = COMMANDS[words[1]]
    options = {name: one for one in command.params for name in one.opts if name.startswith("-")}
    wrong, arguments, rest = [], 0, iter(words[2:])
    for word in rest:
        name, equals, value = word.partition("=")
        if name == "--help":
            return wrong
        if not word.startswith("-"):
            arguments += 1
        elif name not in options:
            wrong.append(f"aga {words[1]} {name}: no such option")
        elif not getattr(options[name], "is_flag", False):
            given = value if equals else next(rest, "")
            if not given or given not in CHOICES.get(name, [given]):
                wrong.append(f"aga {words[1]} {name}: {given!r} is no value for it")
    expected = sum(one.param_type_name == "argument" for one in command.params)
    # alone, as in "`aga run` goes on with it", it is the command's name
    if arguments != expected and len(words) > 2:
        wrong.append(f"aga {words[1]}: expected {expected} arguments, got {arguments}")
    return wrong


def wrong_files(text):
    named = {*FILE.findall(text), *LINK.findall(text)}
    return [f"{name}: no such file" for name in sorted(named) if not (ROOT / name).exists()]


def wrong_python(source):
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return [f"python: {error}"]
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wrong += [one.name for one in node.names if not found(one.name)]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            wrong += [f"{module}.{one.name}" for one in node.names if not found(module, one.name)]
    return [f"python: cannot import {name}" for name in wrong]


def found(module, name=""):
    """Whether a module is there; for our own also whether it has the name."""
    if module.partition(".")[0] not in OURS:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    return not name or hasattr(loaded, name) or found(f"{module}.{name}")


def problems(text):
    """All that a reader would stumble over."""
    wrong = wrong_files(text)
    for words in commands(text):
        program = Path(words[0]).name if words else ""
        if program == "make":
            wrong += wrong_make(words)
        if program == "aga":
            wrong += wrong_aga(words)
    for body in blocks(text, {"python"}):
        wrong += wrong_python(body)
    return wrong


def test_the_readme_can_be_followed():
    assert problems(README) == []


def test_the_readme_says_how_to_start():
    assert "make search" in README


def test_what_can_be_followed_is_no_problem():
    good = """
See [the campaign](configs/campaigns/silicon.yaml) and `aga run`; `make test MARK='not slow'`.
```console
$ make search  # or: make nonsense
  make nonsense
$ OMP_NUM_THREADS=1 .venv/bin/aga run configs/campaigns/silicon.yaml \\
    --run-dir runs/a && aga export runs/a a.cif --format=cif
$ aga status --json runs/a | head; aga --version
```
```bash
make lint
python scripts/relax.py runs/a/models/latest POSCAR out.cif
```
```python
from ase.io import read
from aga import cli
from calculators.ensemble import EnsembleCalculator
```
"""
    assert problems(good) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```console\n$ make nonsense\n```", "make nonsense"),
        ("```bash\nmake PYTHON=python3 serach\n```", "make serach"),
        ("```sh\ncd x && aga serach a\n```", "aga serach"),
        ("```bash\naga run\\\n  a.yaml --folder=b\n```", "--folder"),
        ("```bash\naga run a.yaml --run-dir\n```", "--run-dir"),
        ("```bash\naga export runs/a a --format pdf\n```", "'pdf'"),
        ("```bash\naga export --format cif runs/a\n```", "expected 2 arguments, got 1"),
        ("call `aga reprot runs/a` then", "aga reprot"),
        ("```yaml\ncluster: configs/clusters/none.yaml\n```", "configs/clusters/none.yaml"),
        ("see [this](docs/none.md#there)", "docs/none.md"),
        ("```python\nx = = 1\n```", "invalid syntax"),
        ("```python\nfrom potentials.training import fitt\n```", "potentials.training.fitt"),
        ("```python\nimport calculators.nothing\n```", "calculators.nothing"),
        ("```python\nimport no_such_library\n```", "no_such_library"),
    ],
)
def test_what_cannot_be_followed_is_found(text, found):
    assert len(problems(text)) == 1
    assert found in problems(text)[0]
