"""Who is told of events: apps with topics, and webhook endpoints, as consent and the API leave them behind."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench.machine import Machine
from services.apps.store import endpoints, partitions
from services.apps.store.endpoints import Endpoint
from services.apps.webhook_signing import WebhookSigner, new_secret
from shared.clock import utc_now
from shared.ids import new_id
from shared.kafka_admin import KafkaAdmin
from shared.postgres import Pool, transaction
from shared.topics import plugin_topic_spec

_LET_IN = """
INSERT INTO environment_grants (grant_id, install_id, app_id, merchant_id, environment, permission_ids, scopes, status,
                                approved_by, created_at, updated_at)
SELECT 'grt_' || $2 || app_id, 'ins_' || $2 || app_id, app_id, $2::text, 'test', '{}', '{orders.read}', 'active',
    'usr_1', now(), now()
FROM unnest($1::text[]) AS new (app_id)
"""
_READY = """
INSERT INTO plugin_topics (app_id, status, filled_to, has_credentials, created_at, updated_at)
SELECT app_id, 'ready', 0, false, now(), now() FROM unnest($1::text[]) AS new (app_id) ON CONFLICT DO NOTHING
"""


@asynccontextmanager
async def apps_pool(here: Machine) -> AsyncIterator[Pool]:
    """Connections to the database of the apps service, which can keep events."""
    pool = Pool(here.settings.database_url.get_secret_value(), "apps", 10)
    await pool.open()
    try:
        await partitions.ensure(pool, [partitions.week_of(utc_now())])
        yield pool
    finally:
        await pool.close()


async def let_in(here: Machine, pool: Pool, merchant_id: str, app_ids: Sequence[str]) -> None:
    """The merchant has installed these apps, whose topics are there."""
    await KafkaAdmin(here.settings.kafka).ensure_topics(map(plugin_topic_spec, app_ids))
    await pool.execute(_LET_IN, list(app_ids), merchant_id)
    await pool.execute(_READY, list(app_ids))


async def listen(pool: Pool, signer: WebhookSigner, url: str, merchant_id: str) -> Endpoint:
    """A webhook endpoint of the merchant, for all events."""
    now = utc_now()
    new = Endpoint(
        endpoint_id=new_id("whe"),
        merchant_id=merchant_id,
        environment="test",
        grant_id=None,
        scopes=("orders.read",),
        url=url,
        description=None,
        event_types=("*",),
        status="active",
        disabled_reason=None,
        sealed_secret=signer.seal(new_secret()),
        sealed_previous_secret=None,
        previous_secret_ends_at=None,
        failing_since=None,
        version=1,
        created_at=now,
        updated_at=now,
    )
    async with transaction(pool) as connection:
        await endpoints.insert(connection, new, 100)
    return new
