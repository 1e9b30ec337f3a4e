"""Start or go on with a campaign in a run folder: lock, checks, workers, the loop, a clean end."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aga.campaign import requests
from aga.campaign.interrupts import polite
from aga.campaign.lock import RunLock, RunLocked
from aga.campaign.trouble import trouble
from aga.config import CampaignConfig, resolved, to_yaml
from aga.config_changes import changes, refusal
from aga.yaml_source import ConfigError
from calculators.clusters import ClusterError, Needs
from calculators.publish import publish_json, publish_text
from calculators.results import result_folder
from calculators.scratch import Failures

if TYPE_CHECKING:
    from aga.campaign.loop import Watch
    from aga.campaign.progress import Progress
    from aga.campaign.record import Record
    from aga.campaign.state import State
    from calculators.pools import Pools

FINISHED, FAILED, STOPPED = 0, 1, 130


def start(config: CampaignConfig, run_dir: Path) -> int:
    """Run a campaign to its end, from wherever it stands, or until a stop is asked for.

    Args:
        config: its settings.
        run_dir: the run folder; made if it is not there.

    Returns:
        0 finished; 1 ended without a result, 130 stopped by the user.

    Raises:
        ConfigError: another process runs it, the settings change its meaning, its database is
            damaged, the disk is full, or its cluster does not do what the settings ask for.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with RunLock(run_dir), polite() as once_more:
            requests.withdraw(run_dir)  # was for a driver that died
            try:
                code = _locked(config, run_dir.absolute(), once_more)
            finally:
                requests.withdraw(run_dir)
    except RunLocked as error:
        raise ConfigError([str(error)]) from error
    except ClusterError as error:
        raise ConfigError(
            [f"{run_dir}: {error}", "Nothing is lost: start the same command again to go on."]
        ) from error
    except (KeyboardInterrupt, Exception) as error:
        if message := trouble(error, run_dir):
            raise ConfigError([message]) from error
        if not _by_the_user(error):
            raise
        code = STOPPED
    if code == STOPPED:
        message = (
            f"\nstopped. Nothing is lost: {run_dir} holds every finished label; start the same "
            "command again to go on."
        )
        print(message, file=sys.stderr)  # noqa: T201 - the reader's terminal
    return code


def _by_the_user(error: BaseException | None) -> bool:
    """Whether this is Ctrl-C: compiled modules wrap what interrupts their import in an error."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def _locked(config: CampaignConfig, run_dir: Path, once_more: Callable[[], None]) -> int:
    """The part that only one process may do."""
    from aga.campaign import leftovers, loop, repair, tasks
    from aga.campaign.progress import Progress
    from aga.campaign.state import Decision
    from aga.campaign.store import Store
    from calculators.pools import Pools

    old = Store.configuration(run_dir)
    if old is not None and (message := refusal(changes(old, config))):
        raise ConfigError([f"{run_dir}: {message}"])
    publish_json(run_dir / tasks.CONFIG, resolved(config))
    publish_text(run_dir / "campaign.yaml", to_yaml(config))
    leftovers.sweep(run_dir)
    store = Store(run_dir, config)
    try:
        with Progress(run_dir, sys.stderr, config.disk) as progress:
            repair.restore(store, progress.say)
            adopted = loop.adopt(store)
            failures = Failures(tasks.labels(run_dir), config.disk.failed_labels)
            state = store.state()
            if state.records:
                progress.say(
                    f"{run_dir}: going on with {len(state.labelled)} labels"
                    + (f", {len(adopted)} results taken up" if adopted else "")
                )
            if state.finished and (state.failed or old != config):
                store.plan([Decision("resume", {})], partial(tasks.task_key, config))
            if not state.finished:
                needs = Needs(run_dir, config.task_seconds)
                again = repair.refits(store, progress.say)
                with Pools(config.cluster, partial(tasks.run, str(run_dir)), needs) as pools:
                    watch = _watch(run_dir, progress, failures, once_more)
                    loop.repeat(run_dir, pools, again)
                    state = loop.run(store, pools, watch)
            leftovers.sweep(run_dir)
            if not state.finished:
                return STOPPED
            return FAILED if state.failed else FINISHED
    finally:
        store.close()


def _watch(
    run_dir: Path, progress: "Progress", failures: Failures, once_more: Callable[[], None]
) -> "Watch":
    """What is done after every turn of the loop, besides telling of it."""
    told = False

    def watch(state: "State", pools: "Pools", records: list["Record"]) -> None:
        nonlocal told
        once_more()
        progress(state, pools, records)
        for record in records:
            if (record.kind, record.progress) == ("label", "failed"):
                failures.add(result_folder(run_dir / "labels", record.key))
        if not told and requests.asked(run_dir):
            told = True
            count = len(pools.in_flight())
            progress.say(f"asked to stop: nothing new is started, {count} tasks to be finished")

    return watch
