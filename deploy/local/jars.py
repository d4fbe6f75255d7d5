"""Apache Kafka's jars: exactly the ones that kafka.lock names, downloaded once and checked by their hash.

`python -m deploy.local.jars` resolves them anew and writes kafka.lock; change KAFKA_VERSION first.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from deploy.local.problem import RuntimeProblem

KAFKA_VERSION = "4.3.1"
_ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
_LOCK = Path(__file__).with_name("kafka.lock")
_TIMEOUT_S = 60
_PARALLEL = 6


@dataclass(frozen=True)
class Jar:
    """One line of kafka.lock."""

    coordinate: str
    sha256: str
    size: int

    @property
    def file_name(self) -> str:
        """The name under which the jar is cached."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def class_path(cache_dir: Path) -> str:
    """Java's class path of a complete Kafka, downloading what the cache lacks; silent when it lacks nothing.

    Two processes that ask at the same time download once. Raises a `RuntimeProblem` when a jar can't be had.
    """
    directory = jars_dir(cache_dir)
    jars = _locked()
    if _missing(jars, directory):
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _download(_missing(jars, directory), directory)
    return os.pathsep.join(str(directory / jar.file_name) for jar in jars)


def jars_dir(cache_dir: Path) -> Path:
    """Where the jars of this version of Kafka are kept."""
    return cache_dir / f"kafka-{KAFKA_VERSION}"


def _locked() -> list[Jar]:
    entries = (line.split() for line in _LOCK.read_text().splitlines() if not line.startswith("#"))
    return [Jar(coordinate, sha256, int(size)) for coordinate, sha256, size in entries]


def _missing(jars: list[Jar], directory: Path) -> list[Jar]:
    return [jar for jar in jars if not (directory / jar.file_name).exists()]


def _download(jars: list[Jar], directory: Path) -> None:
    if not jars:
        return
    total = sum(jar.size for jar in jars)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"Downloading Apache Kafka {KAFKA_VERSION} (once)", total=total)
        with tempfile.TemporaryDirectory(dir=directory) as scratch, _pool() as pool:
            fetch = partial(_fetch, directory=directory, scratch=Path(scratch), progress=progress, task=task)
            # All of them finish, or the first problem is raised.
            list(pool.map(fetch, jars))


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    # On a problem or Ctrl-C, only what is under way is waited for.
    pool = ThreadPoolExecutor(_PARALLEL)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _fetch(jar: Jar, directory: Path, scratch: Path, progress: Progress, task: Any) -> None:
    context = _maven(scratch, lambda _name, _size: _advance(progress, task))
    try:
        downloaded = context.create_dependency(jar.coordinate).artifact.resolve()
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors; jgo's own are RuntimeErrors.
        raise RuntimeProblem(
            f"Apache Kafka could not be downloaded: {jar.coordinate} ({error}). It comes from Maven Central, once. "
            "Check the network and run this again; what has been downloaded is kept."
        ) from error
    if hashlib.sha256(downloaded.read_bytes()).hexdigest() != jar.sha256:
        raise RuntimeProblem(
            f"What was downloaded as {jar.coordinate} is not the file that {_LOCK.name} names: its hash differs. "
            "It was thrown away. Run this again; if it stays so, something between here and Maven Central alters files."
        )
    os.replace(downloaded, directory / jar.file_name)


@contextmanager
def _advance(progress: Progress, task: Any) -> Iterator[Any]:
    yield partial(progress.advance, task)


def _maven(repo_cache: Path, on_download: Any = None) -> Any:
    # Imported here because jgo takes a third of a second to import and a cached start never needs it.
    from jgo.maven import MavenContext, PythonResolver

    resolver = PythonResolver(progress_callback=on_download)
    return MavenContext(resolver=resolver, repo_cache=repo_cache, timeout=_TIMEOUT_S)


def _write_lock() -> None:
    scratch = Path(tempfile.mkdtemp())
    context = _maven(scratch)
    roots, others = context.resolver.resolve([context.create_dependency(root) for root in _ROOTS])
    lines = ["# Apache Kafka's jars: coordinate, sha256, bytes. Written by python -m deploy.local.jars"]
    for dependency in [*roots, *others]:
        artifact = dependency.artifact
        content = artifact.resolve().read_bytes()
        coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        lines.append(f"{coordinate} {hashlib.sha256(content).hexdigest()} {len(content)}")
    _LOCK.write_text("\n".join(lines) + "\n")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    _write_lock()
