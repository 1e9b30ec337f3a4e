"""Start a scheduler and keep jobs in a queue; imported when a batch system is opened."""

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Security

from calculators.clusters import Needs, _scheduler, _tls
from calculators.clusters._batch import Batch
from calculators.clusters._dask_crew import SETTINGS, DaskCrew, interrupts_held, losses_told_once
from calculators.clusters._queue import Queue
from calculators.clusters._staff import JobStaff
from calculators.task import Work

CLOSE_S = 10.0  # [s] for the connection to the scheduler

log = logging.getLogger(__name__)


def start(batch: Batch, work: Work, needs: Needs) -> DaskCrew:
    """A scheduler in a process of its own, no job yet; all ends with the crew's `close`.

    When this process is killed, the scheduler ends at once and running jobs when their workers miss
    it; those that still wait in the queue are ended by the next start.

    Raises:
        ClusterError: the batch system does not answer, or the scheduler does not start.
    """
    folder = batch.folder(needs)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    queue = Queue(batch, batch.prefix(needs))
    if left := queue.clear():
        log.warning("ended %d jobs that a killed driver had left: %s", len(left), ", ".join(left))
    _tls.write(folder / "tls.pem")
    settings = {**SETTINGS, "distributed.scheduler.allowed-failures": batch.allowed_failures}
    (folder / "dask.yaml").write_text(json.dumps(_nested(settings), indent=1))  # JSON is YAML
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        stack.enter_context(losses_told_once())
        with interrupts_held():
            process, address = _scheduler.start(folder, batch.scheduler_port, batch.interface)
            stack.callback(_scheduler.stop, process)
            client = Client(address, security=_security(folder / "tls.pem"), set_as_default=False)
            stack.callback(client.close, timeout=CLOSE_S)
        staff = JobStaff(batch, queue, client, address, needs)
        stack.callback(staff.close)
        return DaskCrew(client, staff, work, stack.pop_all())


def _security(certificate: Path) -> Any:
    """How the driver proves that it belongs to the run."""
    name = str(certificate)
    return Security(
        require_encryption=True, tls_ca_file=name, tls_client_cert=name, tls_client_key=name
    )


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as mappings in mappings."""
    tree: dict[str, Any] = {}
    for dotted, value in settings.items():
        *path, last = dotted.split(".")
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
        branch[last] = value
    return tree
