"""Everything that reads or writes Kafka goes through here."""

from shared.kafka.connection import broker, producer
from shared.kafka.consumer import HANDLER_FAILED, BatchConsumer, BatchHandler
from shared.kafka.dead_letters import DeadLetter, DeadLetters
from shared.kafka.record import Record
from shared.kafka_options import client_options

__all__ = [
    "HANDLER_FAILED",
    "BatchConsumer",
    "BatchHandler",
    "DeadLetter",
    "DeadLetters",
    "Record",
    "broker",
    "client_options",
    "producer",
]
