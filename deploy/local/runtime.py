"""PostgreSQL and Kafka as one thing that starts and stops."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local.datadir import DataDirLock, default_cache_dir
from deploy.local.kafka import KafkaServer
from deploy.local.ports import Ports
from deploy.local.postgres import PostgresServer


class LocalServers:
    """A real PostgreSQL and a real Kafka with their data in one directory.

    A context manager. `start` returns when both answer; on any failure, Ctrl-C included, nothing is left running.
    What stands in the way is raised as a `RuntimeProblem`. Data outlives `stop`, and a kill, and is there at the
    next `start`; the ports may be others then. Start it from a thread that lives as long as the servers should.
    `lasting` servers take longer to start and are faster from then on.
    """

    def __init__(
        self, data_dir: Path, ports: Ports | None = None, cache_dir: Path | None = None, *, lasting: bool = False
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._ports = ports or Ports.free()
        self._lock = DataDirLock(self._data_dir)
        self._postgres = PostgresServer(self._data_dir, self._ports.postgres)
        self._kafka = KafkaServer(self._data_dir, cache_dir or default_cache_dir(), self._ports, lasting=lasting)

    @property
    def database_url(self) -> str:
        """`postgresql://…` of a database that belongs to this installation alone."""
        return self._postgres.url

    @property
    def kafka_bootstrap_servers(self) -> str:
        """The listener for our own services: no login, every right."""
        return self._kafka.bootstrap_servers

    @property
    def kafka_client_bootstrap_servers(self) -> str:
        """The listener for everyone else: SASL_PLAINTEXT with SCRAM, and ACLs."""
        return self._kafka.client_bootstrap_servers

    def start(self) -> None:
        """Both servers answer afterwards."""
        self.launch()
        self.wait_database()
        self.wait_kafka()

    def launch(self) -> None:
        """Both servers are starting afterwards, for a caller that has something else to do meanwhile."""
        self._lock.acquire()
        with self._stopping_on_failure():
            self._ports.require_unused()
            # Kafka takes longest, so it goes first and PostgreSQL gets ready meanwhile.
            self._kafka.begin_prepare()
            self._postgres.prepare()
            self._postgres.launch()
            self._kafka.launch()

    def wait_database(self) -> None:
        """PostgreSQL answers afterwards."""
        with self._stopping_on_failure():
            self._postgres.wait_ready()

    def wait_kafka(self) -> None:
        """Kafka answers afterwards."""
        with self._stopping_on_failure():
            self._kafka.wait_ready()

    def require_alive(self) -> None:
        """Raise a `RuntimeProblem` with the end of its log, if one of the servers has died."""
        self._postgres.require_alive()
        self._kafka.require_alive()

    def stop(self) -> None:
        """Both servers have shut down in order afterwards and the directory is free; a repeat does nothing."""
        self._kafka.ask_to_stop()
        self._postgres.ask_to_stop()
        self._kafka.wait_stopped()
        self._postgres.wait_stopped()
        self._lock.release()

    @contextmanager
    def _stopping_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
