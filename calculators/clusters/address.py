"""A scheduler of Dask's that runs already, with workers that somebody else starts."""

import socket
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from calculators.clusters import Cluster, Crew, Needs
from calculators.task import Work

CONNECT_S = 5.0  # [s] for a look whether anybody listens


class Address(Cluster):
    """Workers that joined a scheduler: each offers the pools it works for as Dask resources.

    ``dask worker ADDRESS --nthreads 1 --resources "dft=1"``, likewise ``search=1`` and ``train=1``;
    in the same Python environment, and with the run folder under the same path. They are neither
    started nor ended here, and lost ones are not replaced.
    """

    kind: Literal["address"] = "address"
    address: str = Field(description="Address of the scheduler, e.g. tcp://node1:8786.")
    tls_ca_file: str | None = Field(None, description="Certificate authority (PEM), for tls://.")
    tls_cert: str | None = Field(None, description="Certificate of this process (PEM).")
    tls_key: str | None = Field(None, description="Key of this process (PEM).")

    @field_validator("address")
    @classmethod
    def _complete(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
            raise ValueError(f"expected tcp://host:port or tls://host:port, got {value!r}")
        return value

    def problems(self) -> list[str]:
        """Whether anybody listens at the address."""
        parts = urlsplit(self.address)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), CONNECT_S).close()
        except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
            return [
                f"cluster address: nobody answers at {self.address} ({error}); start one with: "
                "dask scheduler"
            ]
        return []

    def open(self, work: Work, needs: Needs | None = None) -> Crew:
        """Connect; the scheduler and its workers stay when the crew is closed."""
        del needs
        from calculators.clusters import _dask_address

        return _dask_address.start(self, work)
