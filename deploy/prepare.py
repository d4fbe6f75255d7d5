"""What has to be there before a service starts: its database schema, and the topics between the services."""

import asyncio
from collections.abc import Iterable

from shared.kafka_admin import KafkaAdmin
from shared.migrations import migrate
from shared.postgres import wait_until_reachable
from shared.settings import Settings
from shared.topics import TopicSpec, core_topics

SERVICES = ("orders", "payments")
_PATIENCE_S = 60


async def prepare_database(settings: Settings) -> None:
    """Every service's schema is at its newest version; a repeat, or another process doing the same, changes nothing.

    Waits up to a minute for the server. Raises `Transient` when it doesn't answer by then.
    """
    url = settings.database_url.get_secret_value()
    await wait_until_reachable(url, _PATIENCE_S)
    for service in SERVICES:
        await migrate(url, service)


async def prepare_topics(settings: Settings, further: Iterable[TopicSpec] = ()) -> None:
    """Every topic between the services is as `shared.topics` says, and the further ones are too.

    Consumer groups can be joined. Raises `Transient` when Kafka doesn't answer within a minute.
    """
    admin = KafkaAdmin(settings.kafka, timeout_s=_PATIENCE_S)
    await asyncio.gather(
        admin.ensure_topics([*core_topics(settings.command_partitions), *further]),
        admin.wait_for_groups(),
    )
