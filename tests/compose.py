"""docker-compose.yml read the way Docker reads it, as far as this file needs."""

import os
import re
from dataclasses import dataclass
from typing import Any

import yaml

from deploy.local.datadir import REPOSITORY

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


@dataclass(frozen=True)
class Container:
    """One service of docker-compose.yml."""

    name: str
    image: str
    command: list[str]
    environment: dict[str, str]
    definition: dict[str, Any]

    @property
    def kafka_properties(self) -> dict[str, str]:
        """The settings that Apache Kafka's image makes of its environment."""
        return {
            _property(name.removeprefix("KAFKA_")): value
            for name, value in self.environment.items()
            if name.startswith("KAFKA_")
        }


def containers() -> dict[str, Container]:
    """Every service, its variables replaced by their defaults."""
    text = _VARIABLE.sub(lambda found: found[2], (REPOSITORY / "docker-compose.yml").read_text())
    services: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return {name: _container(name, definition) for name, definition in services.items()}


def _container(name: str, definition: dict[str, Any]) -> Container:
    given = definition.get("environment", {})
    # A variable whose default is nothing is an empty text to Docker, which puts it in after it has read the YAML.
    environment = {key: "" if value is None else str(value).strip() for key, value in given.items()}
    command = [str(word) for word in definition.get("command", [])]
    return Container(name, definition["image"], command, environment, definition)


def _property(name: str) -> str:
    # The image's own rule: three underscores are a dash, two an underscore, one a dot.
    return name.lower().replace("___", "-").replace("__", "\0").replace("_", ".").replace("\0", "_")


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead to other servers."""
    ours = ("DATABASE_URL", "KAFKA_", "THROUGHLINE_", "PUBLIC_BASE_URL", "LOG_LEVEL")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
