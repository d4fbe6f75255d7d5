"""The client classes by which a process reaches Kafka: the libraries', unless a simulation brings its own."""

from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from shared.kafka.reader import Reader
from shared.kafka_admin import KafkaAdmin
from shared.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Clients:
    """Each is called like the library's class."""

    consumer: Callable[..., AIOKafkaConsumer] = Reader
    producer: Callable[..., AIOKafkaProducer] = AIOKafkaProducer
    admin: Callable[[KafkaSettings], KafkaAdmin] = KafkaAdmin


REAL_CLIENTS = Clients()
