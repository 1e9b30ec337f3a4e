"""One virtual environment per peer in a cache folder: no code limits another's versions."""

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
BENCH = ROOT / "scripts" / "bench"


def default_cache() -> Path:
    """Where this platform keeps what can be made again."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "aga-search" / "bench"


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment of one peer, and how to start Python in it.

    Attributes:
        name: of the peer's file.
        folder: of the virtual environment.
        python: interpreter that the user named instead, or None.
    """

    name: str
    folder: Path
    python: Path | None

    @property
    def interpreter(self) -> Path:
        """What runs the peer: this very interpreter for this program."""
        if self.python is not None:
            return self.python
        if self.name == "ours":
            return Path(sys.executable)
        scripts = "Scripts" if sys.platform == "win32" else "bin"
        return self.folder / scripts / "python"

    def missing(self, reason: str = "") -> str:
        """Why the peer cannot run here, or an empty string."""
        if self.interpreter.exists():
            failed = self._record().get("failed", "") if self.python is None else ""
            return f"installation failed: {failed}" if failed else ""
        return reason or f"not installed: run with --setup {self.name}"

    def set_up(self, requires: tuple[str, ...]) -> str:
        """Make the environment and install; what pip said where that failed, else empty."""
        command = [sys.executable, "-m", "venv", "--clear", str(self.folder)]
        pip = [str(self.interpreter), "-m", "pip", "install", "--quiet", *requires]
        for step in (command, pip):
            done = subprocess.run(step, check=False, capture_output=True, text=True)
            if done.returncode:
                failed = _last_error(done.stderr)
                break
        else:
            failed = ""
        self.folder.mkdir(parents=True, exist_ok=True)
        record = {"requires": requires, "failed": failed}
        (self.folder / "setup.json").write_text(json.dumps(record, indent=1))
        return failed

    def _record(self) -> dict[str, str]:
        path = self.folder / "setup.json"
        found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def variables(self, threads: int, *, program: bool) -> dict[str, str]:
        """Variables of the child: threads, import path, libraries that wheels brought along."""
        count = str(threads)
        names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "TF")
        libraries = [str(self.folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        if self.python is not None:
            libraries.insert(1, str(self.python.parent.parent / "lib"))
        variables = {
            **os.environ,
            **{f"{name}_NUM_THREADS": count for name in names},
            "TF_NUM_INTRAOP_THREADS": count,
            "DP_INTRA_OP_PARALLELISM_THREADS": count,
            "DP_INTER_OP_PARALLELISM_THREADS": count,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
            "TORCHANI_NO_WARN_EXTENSIONS": "1",
            "PYTHONPATH": os.pathsep.join([str(BENCH), *([str(ROOT)] if program else [])]),
            "PYTHONUNBUFFERED": "1",
        }
        if self.name != "ours":
            path = "DYLD_LIBRARY_PATH" if sys.platform == "darwin" else "LD_LIBRARY_PATH"
            variables[path] = os.pathsep.join(filter(None, libraries))
        return variables


def _last_error(text: str) -> str:
    """The last line in which a tool says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1][:300]


def describe() -> dict[str, str]:
    """The machine and the interpreter, for whoever compares two outputs."""
    processor = ""
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        processor = next((x.split(":", 1)[1].strip() for x in lines if "model name" in x), "")
    return {
        "processor": processor,
        "cores": str(os.cpu_count()),
        "python": sys.version.split()[0],
        "platform": sysconfig.get_platform(),
    }
