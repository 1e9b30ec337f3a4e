"""Join a scheduler that runs already; imported when an `address` is opened."""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Security

from calculators.clusters import ClusterError
from calculators.clusters._dask_crew import (
    SETTINGS,
    DaskCrew,
    Staff,
    interrupts_held,
    losses_told_once,
    rows,
)
from calculators.task import POOLS, Pool, Work

if TYPE_CHECKING:
    from calculators.clusters.address import Address

CONNECT_S, CLOSE_S = 30.0, 10.0  # [s]

log = logging.getLogger(__name__)


class Joined(Staff):
    """Workers that come and go as somebody else likes.

    Args:
        client: of the scheduler.
        address: of the scheduler, for messages.
    """

    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address
        self._there: Counter[str] = Counter()
        self._told: set[Pool] = set()

    def slots(self, pool: Pool) -> int:
        """Workers that offer this pool."""
        return self._there[pool]

    def ready(self, pool: Pool) -> int:
        """The same."""
        return self._there[pool]

    def keep_up(self, load: Callable[[Pool], int]) -> None:
        """Count the workers; say once that work waits for a pool that has none."""
        self._there = Counter(
            name
            for row in rows(self._client)
            for name, amount in row["resources"].items()
            for _ in range(int(amount))
        )
        for pool in POOLS:
            if load(pool) and not self._there[pool] and pool not in self._told:
                self._told.add(pool)
                log.warning(
                    "work waits, but no worker offers the pool %s; start one with: dask worker %s "
                    '--nthreads 1 --resources "%s=1"',
                    pool,
                    self._address,
                    pool,
                )


def start(address: "Address", work: Work) -> DaskCrew:
    """Connected; ``close`` ends the connection and the tasks, not the workers.

    Raises:
        ClusterError: nobody answers, or not in the same language.
    """
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS))
        stack.enter_context(losses_told_once())
        with interrupts_held():
            try:
                client = Client(
                    address.address,
                    security=_security(address),
                    set_as_default=False,
                    timeout=CONNECT_S,
                )
            except (OSError, ValueError) as error:
                raise ClusterError(
                    f"cluster address: no scheduler of Dask's at {address.address}: {error}"
                ) from error
            stack.callback(client.close, timeout=CLOSE_S)
        staff = Joined(client, address.address)
        staff.keep_up(lambda _: 0)  # count them before anybody plans
        return DaskCrew(client, staff, work, stack.pop_all())


def _security(address: "Address") -> Any:
    """Keys for tls://, else nothing."""
    if address.tls_ca_file is None:
        return None
    return Security(
        require_encryption=True,
        tls_ca_file=address.tls_ca_file,
        tls_client_cert=address.tls_cert,
        tls_client_key=address.tls_key,
    )
