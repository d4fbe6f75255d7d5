"""What has to be there before a service starts: its database schema, and the topics between the services."""

import asyncio
from collections.abc import Iterable
from importlib import resources

import asyncpg

from shared.faults import Transient
from shared.kafka_admin import KafkaAdmin
from shared.postgres import wait_until_reachable
from shared.settings import Settings
from shared.topics import TopicSpec, core_topics

SERVICES = ("orders", "payments", "apps")
PARTS = (*SERVICES, "sandbox")
"""What has a schema and a port: the services, and the simulated acquirer, which stands for somebody outside."""
_PATIENCE_S = 60


async def prepare_database(settings: Settings) -> None:
    """Every service's schema is at its newest version; a repeat, or another process doing the same, changes nothing.

    Waits up to a minute for the server. Raises `Transient` when it doesn't answer by then, and at once when it answers
    that it doesn't let this user in.
    """
    url = settings.database_url.get_secret_value()
    try:
        await wait_until_reachable(url, _PATIENCE_S)
    except Transient as error:
        raise Transient(f"PostgreSQL, as DATABASE_URL names it ({error})") from error
    outdated = [service for service in PARTS if not await _is_newest(url, service)]
    if outdated:
        # Imported only where there is something to do: alembic and its own imports take a second.
        from shared.migrations import migrate

        for service in outdated:
            await migrate(url, service)


async def _is_newest(url: str, service: str) -> bool:
    """Whether the schema has the version of the last migration file; files are named by their versions, in order."""
    files = resources.files(f"services.{service}.migrations.versions").iterdir()
    newest = max(file.name.partition("_")[0] for file in files if file.name[:1].isdigit())
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval(f"SELECT version_num FROM {service}.alembic_version") == newest)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        return False
    finally:
        await connection.close()


async def prepare_topics(settings: Settings, further: Iterable[TopicSpec] = ()) -> None:
    """Every topic between the services is as `shared.topics` says, and the further ones are too.

    Consumer groups can be joined. Raises `Transient` when Kafka doesn't answer within a minute.
    """
    admin = KafkaAdmin(settings.kafka, timeout_s=_PATIENCE_S)
    try:
        await asyncio.gather(
            admin.ensure_topics([*core_topics(settings.command_partitions), *further]),
            admin.wait_for_groups(),
        )
    except Transient as error:
        raise Transient(f"Kafka at {settings.kafka.bootstrap_servers} ({error})") from error
