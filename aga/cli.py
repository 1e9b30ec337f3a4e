"""The ``aga`` command: each command a few lines over the rooms below.

What a program may read goes to standard output, all else to standard error. Errors that a user can
make end with exit code 2 and no traceback. Rooms are imported inside the commands, so that help
and refusals come at once.
"""

import atexit
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aga import __version__
from aga.campaign.interrupts import held_while_importing
from aga.yaml_source import ConfigError

if TYPE_CHECKING:
    from aga.config import CampaignConfig

app = typer.Typer(
    name="aga",
    help="Search for the lowest-enthalpy crystals of a composition.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """What `aga export` writes."""

    extxyz = "extxyz"
    cif = "cif"
    xyz = "xyz"
    db = "db"
    traj = "traj"
    entries = "entries"


def _existing_run(directory: Path) -> Path:
    """Refuse a folder that is no run."""
    if not (directory / "campaign.db").is_file():
        raise typer.BadParameter(f"{directory} is no run folder: it has no campaign.db")
    return directory


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


File = Annotated[Path, typer.Argument(metavar="FILE", help="Campaign file (YAML).")]
Labels = Annotated[Path, typer.Argument(metavar="DATA", help="Labelled structures.")]
DataFormat = Annotated[
    str, typer.Option("--from", metavar="FORMAT", help="Format of the labels.", show_default=True)
]
EnergyKey = Annotated[
    str | None,
    typer.Option(help="Name of the energy in an extxyz file; default: REF_energy, or energy."),
]
ForcesKey = Annotated[str | None, typer.Option(help="The same for the forces.")]
StressKey = Annotated[
    str | None, typer.Option(help="The same for the stress; a name with 'virial' holds one (eV).")
]
Units = Annotated[
    str | None,
    typer.Option(help="Of RuNNer's files: bohr-hartree (default), angstrom-ev, bohr-ev, ..."),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--cluster", metavar="FILE", help="Cluster file instead of the one that FILE names."
    ),
]
RunFolder = Annotated[
    Path | None, typer.Option(help="Run folder; default: runs/<name of the campaign>.")
]
Run = Annotated[Path, typer.Argument(metavar="DIR", help="Run folder.", callback=_existing_run)]


def _problems(config: "CampaignConfig") -> list[str]:
    """What would keep a campaign from running here."""
    engine = [f"engine: {problem}" for problem in config.engine.problems(config.elements)]
    return engine + config.cluster.problems() + _unreadable(config)


def _unreadable(config: "CampaignConfig") -> list[str]:
    """The user's structures that no search can begin from: better told now than by a worker."""
    from aga.structure_files import read_structures

    found: list[str] = []
    for name in config.search.structures:
        try:
            read_structures(Path(name))
        except ConfigError as error:
            found += [f"search.structures: {message}" for message in error.messages]
    return found


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Search for the lowest-enthalpy crystals of a composition."""


@app.command()
def check(
    file: File,
    cluster: ClusterFile = None,
    run_dir: RunFolder = None,
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Let one small task run in every pool, through the queue."),
    ] = False,
) -> None:
    """Check a campaign file, its engine and its cluster; of a batch system print the job scripts.

    Nothing is computed, and only --submit starts a worker.
    """
    from aga.config import load
    from aga.search.compositions import named
    from calculators.clusters import Needs

    config = load(file, cluster)
    folder = run_dir or Path("runs") / config.name
    problems = _problems(config)
    ends = [named(end) for end in config.compositions.ends] if config.compositions else []
    for line in (
        f"{file}: {config.name}",
        f"  search   {config.question}"
        + (f", {config.pressure_gpa:g} GPa" if config.dimension == "bulk" else ""),
        *([f"  hull     labelled first: {', '.join(ends)}"] if ends else []),
        f"  engine   {config.engine.description()}",
        f"  cluster  {config.cluster.kind}",
        f"  budget   {config.budget.labels} labels, {config.budget.hours:g} h",
    ):
        typer.echo(line, err=True)
    for pool, script in config.cluster.scripts(Needs(folder, config.task_seconds)).items():
        typer.echo(f"----- a job of the pool {pool}\n{script.strip()}\n")
    if problems:
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    if submit:
        from aga.campaign.trial import trial

        trial(config, folder)
    typer.echo("  ok: start it with `aga run`", err=True)


@app.command()
def run(
    file: File,
    run_dir: RunFolder = None,
    cluster: ClusterFile = None,
) -> None:
    """Start a campaign, or go on with it where it stopped."""
    from aga.config import load

    config = load(file, cluster)
    if problems := _problems(config):
        raise ConfigError([f"{file}: {problem}" for problem in problems])
    from aga.campaign.run import start

    folder = run_dir or Path("runs") / config.name
    code = start(config, folder)
    from aga.report.finish import finish

    finish(folder)
    raise typer.Exit(code)


@app.command()
def status(
    directory: Run,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show where a run stands; it may be running."""
    from aga.report.status import print_status, status_json

    if as_json:
        typer.echo(json.dumps(status_json(directory), indent=2))
    else:
        print_status(directory)


@app.command()
def report(directory: Run) -> None:
    """Write the report of a run."""
    from aga.report.html import write_report

    typer.echo(write_report(directory))


@app.command()
def export(
    directory: Run,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.extxyz,
) -> None:
    """Write structures and labels of a run in a format of other programs."""
    from aga.report.export import export as write

    write(directory, form.value, out)
    typer.echo(f"{directory}: written as {form.value} to {out}", err=True)


@app.command()
def stop(
    directory: Run,
    now: Annotated[
        bool, typer.Option("--now", help="At once: what runs is dropped and repeated later.")
    ] = False,
) -> None:
    """Stop a running campaign when what runs is finished; `aga run` goes on with it later."""
    from aga.campaign.stop import stop as end

    typer.echo(end(directory, now=now), err=True)


@app.command()
def train(  # noqa: PLR0913, PLR0917 - options of a command
    data: Labels,
    out: Annotated[Path, typer.Option(help="Folder of the ensemble; must not exist.")],
    test: Annotated[
        Path | None, typer.Option(help="Labels that only errors are measured on.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings (YAML): the keys of `potential:` in a campaign file."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    max_force: Annotated[
        float, typer.Option(min=0.0, help="Leave out labels with a larger force (eV/Å).")
    ] = 100.0,
    form: DataFormat = "extxyz",
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    units: Units = None,
) -> None:
    """Train an ensemble on labelled structures, without a campaign.

    Who knows RuNNer: this is modes 1 and 2 (symmetry functions, fit) in one command; mode 3
    (prediction) is `aga evaluate`.
    """
    from aga.models.data import Source
    from aga.models.train import Training
    from aga.models.train import train as fit

    def source(path: Path) -> Source:
        return Source(path, form, energy_key, forces_key, stress_key, units)

    fit(
        Training(source(data), None if test is None else source(test), out, config, seed, max_force)
    )


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - options of a command
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder of an ensemble.")],
    data: Labels,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw parity and spread into it.")
    ] = None,
    form: DataFormat = "extxyz",
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    units: Units = None,
) -> None:
    """Measure an ensemble on labelled structures: errors, and what its spread is worth.

    Who knows RuNNer: this is mode 3 (prediction).
    """
    from aga.models.data import Source
    from aga.models.measure import measure

    source = Source(data, form, energy_key, forces_key, stress_key, units)
    measure(model, source, as_json=as_json, plots=plots)


@app.command()
def convert(  # noqa: PLR0917 - options of a command
    source: Annotated[Path, typer.Argument(metavar="IN", help="File or folder to read.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File or folder to write.")],
    start: Annotated[str, typer.Option("--from", metavar="FORMAT", help="Format of IN.")],
    end: Annotated[str, typer.Option("--to", metavar="FORMAT", help="Format of OUT.")],
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    units: Units = None,
) -> None:
    """Convert labelled structures or a potential to a format of another program, or back.

    Structures: extxyz, runner (input.data; n2p2's too), aenet (xsf), deepmd (npy).
    Potentials: aga (our folders), runner (input.nn, scaling.data, weights), simple-nn.
    """
    from aga.models.convert import Conversion
    from aga.models.convert import convert as write

    keys = {"energy_key": energy_key, "forces_key": forces_key, "stress_key": stress_key}
    write(Conversion(source, out, start, end, keys, units))


@app.command()
def converge(  # noqa: PLR0913, PLR0917 - options of a command
    structure: Annotated[
        Path, typer.Argument(metavar="STRUCTURE", help="A structure like those to be searched.")
    ],
    engine: Annotated[str, typer.Option(metavar="KIND", help="The engine, e.g. gpaw.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of the engine; of cutoff and k-points, where they begin. Repeatable.",
        ),
    ] = None,
    tolerance_energy: Annotated[
        float, typer.Option(min=1e-6, help="Largest change of the energy (meV/atom).")
    ] = 5.0,
    tolerance_force: Annotated[
        float, typer.Option(min=1e-6, help="Largest change of the force on an atom (eV/Å).")
    ] = 0.02,
    tolerance_stress: Annotated[
        float, typer.Option(min=1e-6, help="Largest change of the stress (GPa).")
    ] = 0.5,
    steps: Annotated[
        int, typer.Option(min=3, help="Most values of each setting, each 1.2 times the last.")
    ] = 10,
    index: Annotated[
        int | None, typer.Option(help="Which structure of the file, from 0; -1: the last.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Points and picture.")] = Path(
        "convergence"
    ),
) -> None:
    """Find the cutoff and k-points of an engine at which its answers no longer change.

    The `engine:` section to copy goes to standard output. A command that was stopped goes on when
    it is given again.
    """
    from aga.converge.ladder import Tolerance
    from aga.converge.walk import Wanted
    from aga.converge.walk import converge as find

    tolerance = Tolerance(tolerance_energy, tolerance_force, tolerance_stress)
    given = tuple(settings or ())
    raise typer.Exit(find(Wanted(structure, engine, given, tolerance, steps, out, index)))


@app.command()
def schema() -> None:
    """Print the JSON schema of campaign files, for completion in editors."""
    from aga.config_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def _tell_of_compilation() -> None:
    """The first use on a machine compiles for some seconds: say so on standard error."""
    logger = logging.getLogger("potentials.kernels")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: user errors become lines on standard error and exit code 2."""
    # spglib tells the terminal of every tolerance that does not work out; we try the next one
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    # the work is done: a Ctrl-C while Python tidies up would only spoil the exit status
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    _tell_of_compilation()
    try:
        with held_while_importing():
            app(arguments)
    except ConfigError as error:
        for message in error.messages:
            typer.echo(message, err=True)
        sys.exit(2)
