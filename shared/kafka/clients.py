"""The client classes by which a process reaches Kafka: the libraries', unless a simulation brings its own."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import aiokafka.conn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, ProducerClosed

from shared.kafka.reader import Reader
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings


class Producer(AIOKafkaProducer):  # type: ignore[misc]
    """aiokafka's, which can also end without sending what it still holds."""

    async def abandon(self) -> None:
        """End. What is not sent never is; what waits for its answer gets it, within the request's time.

        `stop` sends first, however late that is: by then, others may have published what comes after it.
        Whoever waits for what was not acknowledged gets `ProducerClosed`.
        """
        await self._sender.close()
        held = list(chain.from_iterable(self._message_accumulator._batches.values()))
        self._message_accumulator.fail_all(ProducerClosed())
        for batch in held:
            # Perhaps nobody looks at them any more, which asyncio would report.
            batch.future.exception()
            batch._drain_waiter.exception()
        await self.stop()


@dataclass(frozen=True, slots=True)
class Clients:
    """Each is called like the library's class."""

    consumer: Callable[..., AIOKafkaConsumer] = Reader
    producer: Callable[..., Producer] = Producer
    admin: Callable[[KafkaSettings], KafkaAdmin] = KafkaAdmin


REAL_CLIENTS = Clients()


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that says in aiokafka's words that it is closed.

    On a transport that has just been closed uvloop raises `RuntimeError`, where asyncio raises nothing. aiokafka does
    not foresee it (its issue 1038): the task that fetches, or the one that keeps metadata fresh, would end for good.
    """

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """As aiokafka's; raises `KafkaConnectionError` when the connection is closed."""
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            raise self._broken(error) from error

    def _send_sasl_token(self, payload: bytes, expect_response: bool = True) -> Any:
        try:
            return super()._send_sasl_token(payload, expect_response)
        except RuntimeError as error:
            raise self._broken(error) from error

    def _broken(self, error: RuntimeError) -> KafkaConnectionError:
        self.close(reason=CloseReason.CONNECTION_BROKEN)
        return KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}")


# All of aiokafka's clients make their connections by this name, and take no class for them.
aiokafka.conn.AIOKafkaConnection = Connection
