"""Servers that somebody else runs, in the shape of the ones that we run."""

import os
from pathlib import Path

from pydantic import SecretStr

from deploy.local.datadir import DataDirLock, default_data_dir
from deploy.local.ports import Ports
from deploy.local.problem import RuntimeProblem
from deploy.local.runtime import LocalServers
from shared.settings import KafkaSettings, Settings


class ExternalServers:
    """The servers that DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS name: nothing to start, nothing to stop."""

    def __init__(self, data_dir: Path) -> None:
        self._lock = DataDirLock(data_dir)

    def settings(self, base_url: str, sealing_key: str) -> Settings:
        """The environment's settings; the key only where it names none."""
        named = Settings(public_base_url=base_url)
        if named.sealing_key.get_secret_value():
            return named
        return named.model_copy(update={"sealing_key": SecretStr(sealing_key)})

    def launch(self) -> None:
        """Nobody else uses the data directory afterwards."""
        self._lock.acquire()

    def wait_database(self) -> None:
        """Whether it answers shows when it is used."""

    def wait_kafka(self) -> None:
        """Whether it answers shows when it is used."""

    def require_alive(self) -> None:
        """Somebody else's business."""

    def stop(self) -> None:
        """The data directory is free afterwards."""
        self._lock.release()


class OwnServers(LocalServers):
    """The servers from packages, with the settings that lead to them."""

    def settings(self, base_url: str, sealing_key: str) -> Settings:
        """The environment's settings, but for where the servers are, and with a terminal that stays readable."""
        kafka = KafkaSettings(
            bootstrap_servers=self.kafka_bootstrap_servers,
            client_bootstrap_servers=self.kafka_client_bootstrap_servers,
        )
        return Settings.model_validate(
            {
                "database_url": self.database_url,
                "kafka": kafka,
                "public_base_url": base_url,
                "sealing_key": sealing_key,
                "outbound_local": os.environ.get("OUTBOUND_LOCAL", "true"),
                "log_level": os.environ.get("LOG_LEVEL", "warning"),
                "log_format": os.environ.get("LOG_FORMAT", "text"),
            }
        )


def choose_servers() -> OwnServers | ExternalServers:
    """Somebody else's servers where the environment names them, otherwise our own."""
    named = [name for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS") if os.environ.get(name)]
    if len(named) == 1:
        raise RuntimeProblem(
            f"Only {named[0]} is set. Set DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS both, to use servers of your own, "
            "or neither, to have them started here."
        )
    return ExternalServers(default_data_dir()) if named else OwnServers(default_data_dir(), Ports.from_env())
