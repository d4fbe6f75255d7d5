"""The life of a merchant: made with its two environments, changed, suspended, closed."""

from collections.abc import Mapping
from typing import Any

from services.apps import installing, keys
from services.apps.audit import By, changes_between, note
from services.apps.core.merchants import Merchant
from services.apps.store import api_keys, merchants
from shared.immutable import replace
from shared.postgres import Connection

_FIELDS = ("name", "status", "country", "default_currency", "time_zone", "metadata")


async def create(connection: Connection, by: By, merchant: Merchant) -> None:
    """The merchant is there, and may be given keys."""
    await merchants.insert(connection, merchant)
    changes = changes_between({}, _said(merchant))
    await note(
        connection, by.did("merchant.created", merchant.merchant_id, merchant_id=merchant.merchant_id, changes=changes)
    )


async def change(connection: Connection, by: By, before: Merchant, fields: Mapping[str, Any]) -> Merchant:
    """The locked merchant with these fields; what changes nothing is no new version.

    While it is not active, none of its credentials is accepted anywhere.
    """
    changes = changes_between(_said(before), {**_said(before), **fields})
    if not changes:
        return before
    after: Merchant = replace(before, **fields, version=before.version + 1, updated_at=by.at)
    await merchants.update(connection, after)
    if "status" in changes:
        await _announce(connection, by, after)
    await note(
        connection, by.did("merchant.updated", after.merchant_id, merchant_id=after.merchant_id, changes=changes)
    )
    return after


async def _announce(connection: Connection, by: By, merchant: Merchant) -> None:
    """Every service is told what the merchant's credentials are worth now."""
    held = await api_keys.lock_all_of(connection, merchant.merchant_id)
    active = merchant.status == "active"
    await keys.announce(connection, held, by.at, merchant_active=active)
    await installing.announce(connection, merchant.merchant_id, merchant_active=active)


def _said(merchant: Merchant) -> dict[str, object]:
    return {name: getattr(merchant, name) for name in _FIELDS}
