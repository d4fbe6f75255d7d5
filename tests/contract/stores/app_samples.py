"""What the apps service begins with."""

from datetime import UTC, datetime, timedelta
from typing import Any

from services.apps.core.events import (
    Happened,
    Origin,
    PublicEvent,
    Subject,
    Told,
    Version,
    event_told,
    public_events,
)
from services.apps.core.merchants import Merchant
from services.apps.store import endpoints, events, installs, merchants, partitions
from services.apps.store.endpoints import Endpoint
from services.apps.store.installs import EnvironmentGrant, Install
from shared.postgres import transaction
from tests.contract.stores.store import Store

NOW = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def merchant(merchant_id: str = "mer_1", **fields: Any) -> Merchant:
    given: dict[str, Any] = dict.fromkeys(("country", "default_currency", "time_zone"))
    ids = {"test_environment_id": f"env_{merchant_id}_t", "live_environment_id": f"env_{merchant_id}_l"}
    made = given | ids | {"metadata": {"a": "b"}, "created_at": NOW, "updated_at": NOW} | fields
    return Merchant(merchant_id=merchant_id, name="Shop", **made)


def grant(app_id: str = "app_1", merchant_id: str = "mer_1", **fields: Any) -> EnvironmentGrant:
    """One that lets the app read orders."""
    given: dict[str, Any] = {
        "grant_id": f"grt_{app_id}_{merchant_id}",
        "install_id": f"ins_{app_id}_{merchant_id}",
        "environment": "test",
        "permission_ids": ("read",),
        "scopes": ("orders.read",),
        "status": "active",
        "approved_by": "usr_1",
        "created_at": NOW,
        "updated_at": NOW,
        "revoked_at": None,
    }
    return EnvironmentGrant(app_id=app_id, merchant_id=merchant_id, **given | fields)


async def installed(store: Store, *given: EnvironmentGrant) -> None:
    """The apps are there, each with its install."""
    async with transaction(store.pool) as connection:
        for each in given:
            status = "revoked" if each.status == "revoked" else "active"
            install = Install(each.install_id, each.app_id, each.merchant_id, status, NOW, NOW, each.revoked_at)
            await installs.live_install(connection, install)
            await installs.live_grant(connection, each)


async def opened(store: Store, merchant_id: str = "mer_1", **fields: Any) -> None:
    """The merchant is there."""
    async with transaction(store.pool) as connection:
        await merchants.insert(connection, merchant(merchant_id, **fields))


def event(
    number: int, *, order: str = "ord_1", tenant: tuple[str, str] = ("mer_1", "test"), **more: Any
) -> PublicEvent:
    """Version `number` of an order, which was paid in the second of that number."""
    given: dict[str, Any] = {"customer": None, "cause": Origin("command", f"cmd_{number}")}
    version = Version(
        order_id=order,
        version=number,
        merchant_id=tenant[0],
        environment=tenant[1],
        recorded_at=NOW + number * SECOND,
        currency="EUR",
        actor=Origin("channel", "chn_1"),
        happened=(Happened("orders.order_paid.v1", {}),),
        order=b'{"order_id":"%b"}' % order.encode(),
        **given | more,
    )
    return public_events(version)[0]


def app_event(grant_id: str) -> PublicEvent:
    """An app was let in."""
    told = Told(
        type="partner_app.environment_grant.created",
        source="apps",
        message_id=f"msg_{grant_id}",
        recorded_at=NOW,
        merchant_id="mer_1",
        environment="test",
        actor=Origin("staff", "usr_1"),
        cause=None,
        subject=Subject("environment_grant", grant_id, b"{}"),
        change=b"{}",
        grant_id=grant_id,
    )
    return event_told(told)


async def kept(store: Store, *told: PublicEvent) -> None:
    """The events are kept, in this order."""
    await partitions.ensure(store.pool, {partitions.week_of(each.created_at) for each in told})
    async with transaction(store.pool) as connection:
        await events.append(connection, told)


def endpoint(endpoint_id: str = "whe_1", **fields: Any) -> Endpoint:
    """The merchant's own."""
    given: dict[str, Any] = {
        "merchant_id": "mer_1",
        "environment": "test",
        "grant_id": None,
        "scopes": ("orders.read",),
        "url": f"https://{endpoint_id}.example/hook",
        "description": None,
        "event_types": ("*",),
        "status": "active",
        "disabled_reason": None,
        "sealed_secret": b"sealed",
        "sealed_previous_secret": None,
        "previous_secret_ends_at": None,
        "failing_since": None,
        "version": 1,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Endpoint(endpoint_id=endpoint_id, **given | fields)


async def listening(store: Store, *given: Endpoint) -> None:
    """The endpoints are there."""
    async with transaction(store.pool) as connection:
        for each in given:
            assert await endpoints.insert(connection, each, most=20)
