"""Connections to Kafka with one set of credentials: consumers through FastStream, producers that lose nothing."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from aiokafka import AIOKafkaConsumer
from faststream.kafka import KafkaBroker
from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from shared.kafka.clients import REAL_CLIENTS, Clients, Producer
from shared.kafka_options import client_options, ssl_context
from shared.settings import KafkaSettings, Misconfigured

METADATA_MAX_AGE_MS = 3_000
"""How soon a consumer with a topic pattern notices a new topic; a rebalance of about a second follows."""
GRACEFUL_TIMEOUT_S = 15.0
"""How long a batch that has begun may take when the process stops."""


def producer(settings: KafkaSettings, clients: Clients = REAL_CLIENTS, **options: Any) -> Producer:
    """A producer, not started, whose every acknowledged message is on all replicas that are in sync, once and in order.

    How many that are at least, the topic says (`shared.topics.in_sync`).
    """
    return clients.producer(**client_options(settings), acks="all", enable_idempotence=True, **options)


class _Broker(KafkaBroker):
    """Consumes with the given client."""

    consumer: Callable[..., AIOKafkaConsumer]

    async def _connect(self) -> Callable[..., AIOKafkaConsumer]:
        builder = await super()._connect()
        ours = partial(self.consumer, **getattr(builder, "keywords", {}))
        self.config.broker_config.builder = ours
        return ours


def broker(settings: KafkaSettings, clients: Clients = REAL_CLIENTS) -> KafkaBroker:
    """A FastStream broker that only consumes; nothing connects before a `BatchConsumer` starts."""
    made = _Broker(
        settings.bootstrap_servers.split(","),
        security=_security(settings),
        consumer_only=True,
        allow_auto_create_topics=False,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        graceful_timeout=GRACEFUL_TIMEOUT_S,
        logger=_errors_only(),
        log_level=logging.DEBUG,
        apply_types=False,
    )
    made.consumer = clients.consumer
    return made


def _errors_only() -> logging.Logger:
    # Its warnings at every start (that it creates no topics) are what we ask of it.
    logger = logging.getLogger("throughline.faststream")
    logger.setLevel(logging.ERROR)
    return logger


def _security(settings: KafkaSettings) -> BaseSecurity:
    context = ssl_context(settings)
    if not settings.security_protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=context, use_ssl=context is not None)
    if not settings.sasl_mechanism or not settings.sasl_username or not settings.sasl_password:
        raise Misconfigured("KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed for SASL")
    kinds = {"PLAIN": SASLPlaintext, "SCRAM-SHA-256": SASLScram256, "SCRAM-SHA-512": SASLScram512}
    return kinds[settings.sasl_mechanism](
        username=settings.sasl_username,
        password=settings.sasl_password.get_secret_value(),
        ssl_context=context,
        use_ssl=context is not None,
    )
