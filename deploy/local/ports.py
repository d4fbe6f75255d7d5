"""Which TCP ports the local servers listen on, all of them on the loopback interface."""

import os
import random
import socket
from dataclasses import dataclass
from typing import Self

from deploy.local.problem import RuntimeProblem

HOST = "127.0.0.1"

# Free ports are drawn from below the usual ephemeral range (32768 and up), so that an outgoing connection of
# some other process doesn't take one between our looking and the server's binding.
_FREE_RANGE = (20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    """The ports of one pair of servers; `from_env` is what `make up` uses, `free` what tests and benches use."""

    postgres: int = 15432
    kafka: int = 19092
    kafka_client: int = 19094
    kafka_controller: int = 19093

    @classmethod
    def from_env(cls) -> Self:
        """The default ports, each replaceable by its environment variable."""
        default = cls()
        return cls(**{name: port_from_env(variable_of(name), getattr(default, name)) for name in vars(default)})

    @classmethod
    def free(cls) -> Self:
        """Four different ports that nothing listens on now."""
        ports: set[int] = set()
        for _ in range(1000):
            candidate = random.randint(*_FREE_RANGE)  # noqa: S311 - not a secret
            if not is_taken(candidate):
                ports.add(candidate)
            if len(ports) == 4:
                return cls(*ports)
        raise RuntimeProblem("No free TCP ports were found on this machine. Close some programs and try again.")

    def require_unused(self) -> None:
        """Raise a `RuntimeProblem` that names the first port that something else listens on."""
        for name, what in _PURPOSE.items():
            require_unused_port(getattr(self, name), what, variable_of(name))


_PURPOSE = {
    "postgres": "PostgreSQL",
    "kafka": "Kafka",
    "kafka_client": "Kafka, for channels and plugins",
    "kafka_controller": "Kafka's controller",
}


def variable_of(name: str) -> str:
    """The environment variable that replaces a port."""
    return f"THROUGHLINE_{name.upper()}_PORT"


def port_from_env(variable: str, default: int) -> int:
    """The port that `variable` names, or `default` where it is not set."""
    text = os.environ.get(variable, "")
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise RuntimeProblem(f"{variable} is '{text}', which is not a TCP port (1 to 65535). Correct or unset it.")
    return int(text)


def api_port(chosen: int | None) -> int:
    """The unused port that the HTTP API shall have: the chosen one, else THROUGHLINE_PORT's, else 8080."""
    port = port_from_env("THROUGHLINE_PORT", 8080) if chosen is None else chosen
    require_unused_port(port, "the HTTP API", "THROUGHLINE_PORT")
    return port


def base_url(host: str, port: int) -> str:
    """Where what listens there is reached from this machine."""
    named = {"0.0.0.0": HOST, "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{named}]' if ':' in named else named}:{port}"


def require_unused_port(port: int, what: str, variable: str) -> None:
    """Raise a `RuntimeProblem` that says how to choose another port, if this one is in use."""
    if is_taken(port):
        other = port + 1000 if port + 1000 < 65536 else port - 1000
        raise RuntimeProblem(
            f"Port {port} (for {what}) is in use by another program. Stop that program, or choose another port: "
            f"set {variable}, for example {variable}={other}."
        )


def is_taken(port: int) -> bool:
    """Whether something listens on the loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Like the servers themselves: a port that is only waiting out its old connections is not taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def is_open(port: int) -> bool:
    """Whether something takes connections on the loopback port; asked by connecting, which gets in nobody's way."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((HOST, port)) == 0
