"""Dask's scheduler as a process of its own, which ends with the process that started it.

``python -m calculators.clusters._scheduler FOLDER PORT [INTERFACE]`` prints its address, serves
until its standard input ends, which the kernel sees to even when the driver is killed, and exits.
"""

import asyncio
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from calculators.clusters import ClusterError

START_S = 60.0  # [s] for the scheduler to say its address; imports over a network are slow
STOP_S = 5.0  # [s] for it to end by itself


def start(folder: Path, port: int, interface: str | None) -> tuple[subprocess.Popen[str], str]:
    """The process, and the address that workers connect to.

    Args:
        folder: of the certificate (``tls.pem``) and Dask's settings (``dask.yaml``); gets the log.
        port: to listen at; 0: any.
        interface: network to listen on; None: the default.

    Raises:
        ClusterError: it does not start.
    """
    log = folder / "scheduler.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder), str(port), interface or ""],
            env={**os.environ, "DASK_CONFIG": str(folder / "dask.yaml")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal is for the driver alone
        )
    address = _first_line(process)
    if not address.startswith("tls://"):
        stop(process)
        last = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise ClusterError(
            f"Dask's scheduler did not start within {START_S:.0f} s (port {port}, network "
            f"{interface or 'default'}): {last[0] if last else 'it said nothing'}; see {log}"
        )
    return process, address


def stop(process: subprocess.Popen[str]) -> None:
    """End it."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _first_line(process: subprocess.Popen[str]) -> str:
    """What the process prints first, or nothing."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    output = process.stdout
    if output is None:
        return ""
    threading.Thread(target=lambda: said.put(output.readline()), daemon=True).start()
    try:
        return said.get(timeout=START_S).strip()
    except queue.Empty:
        return ""


async def _serve(folder: Path, port: int, interface: str) -> None:
    """Serve until standard input ends."""
    from distributed import Scheduler, Security

    certificate = str(folder / "tls.pem")
    security: Any = Security(
        require_encryption=True,
        tls_ca_file=certificate,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=certificate,
    )
    async with Scheduler(
        protocol="tls",
        port=port,
        interface=interface or None,
        security=security,
        dashboard=False,
        dashboard_address="127.0.0.1:0",
    ) as scheduler:
        print(scheduler.address, flush=True)  # noqa: T201 - for the driver
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=wait, daemon=True).start()
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
    os._exit(0)  # the driver is gone or does not care: nothing is left to tidy up
