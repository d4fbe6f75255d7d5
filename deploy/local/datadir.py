"""The directory that holds everything of one local installation, and the rule that one process uses it at a time."""

import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

from deploy.local.problem import RuntimeProblem

if TYPE_CHECKING:
    import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
_FREE_BYTES_NEEDED = 1_000_000_000
_LEFT_OVER_GRACE_S = 10

_DIRECTORIES = {"postgres": "PG_VERSION", "kafka": "server.properties"}
"""Those that an installation makes, each with a file by which it is known for ours."""
_LEFT_BY_A_STOP = "postgres.unfinished"
_FILES = (
    "create-database.sql",
    "initdb.log",
    "kafka-format.log",
    "kafka.log",
    "postgres.log",
    "running.json",
    "running.new",
    "state.json",
    "state.new",
)


def default_data_dir() -> Path:
    """`.throughline/` in the repository, or what THROUGHLINE_DATA_DIR names."""
    return Path(os.environ.get("THROUGHLINE_DATA_DIR") or REPOSITORY / ".throughline").resolve()


def default_cache_dir() -> Path:
    """Where downloads are kept between runs and shared by tests: THROUGHLINE_CACHE_DIR, or in the repository."""
    return Path(os.environ.get("THROUGHLINE_CACHE_DIR") or REPOSITORY / ".throughline" / "cache").resolve()


class DataDirLock:
    """Held while a process uses a data directory; released by the kernel even when that process is killed."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the directory, ending whatever an unclean stop left running in it.

        Raises a `RuntimeProblem` when another process holds it, or when it can't be written or is nearly full.
        """
        require_usable(self._data_dir)
        file = (self._data_dir / "lock").open("a+")
        if not _lock(file):
            file.close()
            raise RuntimeProblem(_already_running(self._data_dir))
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "since": time.strftime("%H:%M:%S")}))
        file.flush()
        self._file = file
        end_left_overs(self._data_dir)

    def release(self) -> None:
        """Let go of the directory; a repeat does nothing."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def _lock(file: IO[str]) -> bool:
    # More than one try, because `holder` takes the lock too, for an instant.
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def require_usable(data_dir: Path) -> None:
    """Create the directory; a `RuntimeProblem` if it can't be written or its disk has under 1 GB left."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        probe = data_dir / f".writable-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise RuntimeProblem(
            f"The directory {data_dir} can't be written ({error.strerror}). "
            "Make it writable, or set THROUGHLINE_DATA_DIR to a directory that is."
        ) from error
    free = shutil.disk_usage(data_dir).free
    if free < _FREE_BYTES_NEEDED:
        raise RuntimeProblem(
            f"The disk that holds {data_dir} has {free // 1_000_000} MB left; PostgreSQL and Kafka need 1 GB. "
            "Free some space, or set THROUGHLINE_DATA_DIR to a directory on another disk."
        )


def require_not_running(data_dir: Path) -> None:
    """Raise a `RuntimeProblem` that names the process that uses the directory, if one does."""
    if holder(data_dir) is not None:
        raise RuntimeProblem(_already_running(data_dir))


def holder(data_dir: Path) -> int | None:
    """The process that uses the directory now, if any."""
    try:
        file = (data_dir / "lock").open("r")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid_in(file.read())
    return None


def servers_of(data_dir: Path) -> "list[psutil.Process]":
    """The PostgreSQL and Kafka processes that run on this data directory, whoever started them."""
    import psutil  # Not in the container image, which starts no servers.

    ours = {str(postgres_dir(data_dir)), str(kafka_properties(data_dir))}
    found = {
        process.pid: process
        for process in psutil.process_iter(["name", "cmdline", "ppid"])
        if process.info["name"] in {"postgres", "java"} and ours.intersection(process.info["cmdline"] or ())
    }
    # A process that PostgreSQL has just forked looks like the server itself until it takes a name of its own.
    return [process for process in found.values() if process.info["ppid"] not in found]


def end_left_overs(data_dir: Path) -> None:
    """Nothing runs on this data directory afterwards; call it only while holding its lock."""
    import psutil

    processes = servers_of(data_dir)
    for process in processes:
        process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_LEFT_OVER_GRACE_S)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=_LEFT_OVER_GRACE_S)


def postgres_dir(data_dir: Path) -> Path:
    """PostgreSQL's cluster."""
    return data_dir / "postgres"


def kafka_properties(data_dir: Path) -> Path:
    """Kafka's configuration, whose path is also how its process is recognised."""
    return data_dir / "kafka" / "server.properties"


def delete_data(data_dir: Path, kept: Path) -> None:
    """What an installation has made in the directory is gone; call it only while holding its lock.

    Whatever else is there stays, `kept` wherever it is, and what a link points to.
    """
    known = [data_dir / name for name, mark in _DIRECTORIES.items() if (data_dir / name / mark).is_file()]
    for path in (*known, data_dir / _LEFT_BY_A_STOP, *(data_dir / name for name in _FILES)):
        _delete(path, kept)


def _delete(path: Path, kept: Path) -> None:
    if path == kept:
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    elif path in kept.parents:
        for entry in path.iterdir():
            _delete(entry, kept)
    else:
        shutil.rmtree(path)


def _already_running(data_dir: Path) -> str:
    pid = holder(data_dir)
    if pid is None:
        return f"Another process is using {data_dir} right now. Wait a moment and try again."
    return (
        f"Throughline is already running (process {pid}, data in {data_dir}). "
        f"Use it as it is (`throughline status`), or stop it with Ctrl-C in its terminal or with: kill {pid}"
    )


def _pid_in(text: str) -> int | None:
    try:
        return int(json.loads(text)["pid"])
    except (ValueError, KeyError):
        return None
