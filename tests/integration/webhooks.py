"""A small world for webhooks: the tables, events that happen, senders, and a clock that can be put forward."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

from pydantic import SecretStr

from services.apps.core.events import Origin, PublicEvent, created_in
from services.apps.store import deliveries, endpoints, events, partitions
from services.apps.store.deliveries import Delivery, DeliveryFilter, LoggedAttempt
from services.apps.store.endpoints import Endpoint, Owner
from services.apps.webhook_flow import Width
from services.apps.webhook_sender import WebhookSender
from services.apps.webhook_signing import WebhookSigner, new_secret
from services.apps.webhooks import WebhookFollower
from shared.clock import utc_now
from shared.ids import new_id
from shared.outbound import Limits, Outbound, is_public_or_local
from shared.outbox import OUTBOX_TABLE
from shared.postgres import Pool, transaction
from shared.sealing import Sealer, new_sealing_key
from tests.schemas import schema_with

QUICK = Limits(connect_s=2.0, total_s=2.0, body_s=0.5)
SCOPES = ("orders.read", "webhooks.write")


class World:
    """One merchant's."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.owner = Owner(new_id("mer"), "test", None)
        self.signer = WebhookSigner(Sealer(SecretStr(new_sealing_key())))
        self.woken: list[asyncio.Event] = []
        self._ahead = timedelta()
        self._seen = 0

    def now(self) -> datetime:
        return utc_now() + self._ahead

    def later(self, by: timedelta) -> None:
        """Time passes at once; whoever waits looks again."""
        self._ahead += by
        self.wake()

    def wake(self) -> None:
        for event in self.woken:
            event.set()

    async def endpoint(self, url: str, secret: str | None = None, **changes: Any) -> Endpoint:
        now = self.now()
        new = Endpoint(
            endpoint_id=new_id("whe"),
            merchant_id=self.owner.merchant_id,
            environment="test",
            grant_id=None,
            scopes=SCOPES,
            url=url,
            description=None,
            event_types=("*",),
            status="active",
            disabled_reason=None,
            sealed_secret=self.signer.seal(secret or new_secret()),
            sealed_previous_secret=None,
            previous_secret_ends_at=None,
            failing_since=None,
            version=1,
            created_at=now,
            updated_at=now,
        )
        new = replace(new, **changes)
        async with transaction(self.pool) as connection:
            assert await endpoints.insert(connection, new, 1_000)
        return new

    async def read(self, endpoint: Endpoint) -> Endpoint:
        owner = Owner(endpoint.merchant_id, endpoint.environment, endpoint.grant_id)
        found = await endpoints.read(self.pool, owner, endpoint.endpoint_id)
        assert found is not None
        return found

    async def grant(self, scopes: Sequence[str] = SCOPES) -> str:
        """An app is installed here."""
        grant_id = new_id("grt")
        await self.pool.execute(
            "INSERT INTO environment_grants "
            "VALUES ($1, 'ins_1', $4, $2, 'test', '{}', $3, 'active', 'usr_1', now(), now())",
            grant_id,
            self.owner.merchant_id,
            list(scopes),
            new_id("app"),
        )
        return grant_id

    def event(self, order_id: str, event_type: str = "order.updated", customer: bytes | None = None) -> PublicEvent:
        self._seen += 1
        event_id = new_id("evt")
        [created_at, _] = created_in(event_id) or ()
        return PublicEvent(
            event_id=event_id,
            type=event_type,
            created_at=created_at,
            merchant_id=self.owner.merchant_id,
            environment="test",
            order_id=order_id,
            order_version=self._seen,
            actor=Origin("key", "key_1"),
            cause=None,
            change=b'{"type":"noted"}',
            order=b'{"order_id":"%b","number":"%d"}' % (order_id.encode(), self._seen),
            customer=customer,
        )

    async def happens(self, *new: PublicEvent) -> list[str]:
        """The events are kept and followed in one transaction, as their consumer does it."""
        await partitions.ensure(self.pool, {partitions.week_of(event.created_at) for event in new})
        async with transaction(self.pool) as connection:
            await events.append(connection, new, await WebhookFollower(self.now).follow(connection, new))
        self.wake()
        return [event.event_id for event in new]

    @asynccontextmanager
    async def sending(self, width: Width = Width(), limits: Limits = QUICK) -> AsyncIterator[WebhookSender]:  # noqa: B008
        """A sender at work."""
        woken = asyncio.Event()
        self.woken.append(woken)
        outbound = lambda: Outbound(is_public_or_local, limits)  # noqa: E731
        sender = WebhookSender(self.pool, self.now, self.signer, woken, outbound=outbound, width=width)
        task = asyncio.create_task(sender.run())
        try:
            yield sender
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self.woken.remove(woken)

    async def deliveries(self, endpoint: Endpoint, **wanted: Any) -> list[Delivery]:
        """The oldest first."""
        owner = Owner(endpoint.merchant_id, endpoint.environment, endpoint.grant_id)
        found = await deliveries.page(
            self.pool, DeliveryFilter(owner, endpoint.endpoint_id, **wanted), after=None, limit=1_000
        )
        return found[::-1]

    async def attempts(self, delivery: Delivery) -> list[LoggedAttempt]:
        found = await deliveries.attempts(self.pool, self.owner, delivery.delivery_id)
        assert found is not None
        return found

    async def settled(self, endpoint: Endpoint, count: int, within_s: float = 30) -> list[Delivery]:
        """All deliveries to an endpoint, once none is pending and there are so many."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.deliveries(endpoint)
                if len(found) >= count and all(one.status != "pending" for one in found):
                    return found
                await asyncio.sleep(0.02)

    async def tried(self, endpoint: Endpoint, attempts: int, within_s: float = 30) -> list[Delivery]:
        """All deliveries to an endpoint, once so many attempts are logged."""
        async with asyncio.timeout(within_s):
            while True:
                found = await self.deliveries(endpoint)
                if sum(one.attempts for one in found) >= attempts:
                    return found
                await asyncio.sleep(0.02)


@asynccontextmanager
async def world(database_url: str) -> AsyncIterator[World]:
    """Tables of its own."""
    versions = "services.apps.migrations.versions"
    access, oauth = import_module(f"{versions}.0001_access"), import_module(f"{versions}.0002_oauth")
    kept, made = import_module(f"{versions}.0003_events"), import_module(f"{versions}.0004_webhooks")
    subjects = import_module(f"{versions}.0005_subjects")
    tables = (
        access.MERCHANTS,
        access.AUDIT_LOG,
        oauth.INSTALLS,
        oauth.OAUTH,
        OUTBOX_TABLE,
        kept.EVENTS,
        subjects.EVENTS,
        made.ENDPOINTS,
        made.DELIVERIES,
        made.ATTEMPTS,
    )
    async with schema_with(database_url, ";".join(table.strip().rstrip(";") for table in tables)) as pool:
        yield World(pool)
