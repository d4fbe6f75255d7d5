"""Merchants, the apps that they let in, and what is remembered of both."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from services.apps.core.audit import By
from services.apps.store import api_keys, audit_log, installs, merchants, signing_keys, staff, tokens
from services.apps.store.installs import InstalledApp
from services.apps.store.signing_keys import KeyRow
from shared.contracts.access import PublicKey
from shared.contracts.model import Actor
from shared.ids import new_id
from shared.postgres import transaction
from tests.contract.stores.app_samples import NOW, SECOND, grant, installed, merchant, opened
from tests.contract.stores.store import Store, waits


async def test_a_merchant_is_there_once_with_both_environments(apps: Store) -> None:
    await opened(apps)
    with pytest.raises(asyncpg.UniqueViolationError):
        await opened(apps)
    [row] = await apps.rows("merchants")
    assert (row["merchant_id"], row["status"], row["created_at"]) == ("mer_1", "active", NOW)
    environments = {(row["merchant_id"], row["environment"]) for row in await apps.rows("environments")}
    assert environments == {("mer_1", "test"), ("mer_1", "live")}
    with pytest.raises(asyncpg.UniqueViolationError):
        async with transaction(apps.pool) as connection:
            await merchants.insert(connection, merchant("mer_2", test_environment_id="env_mer_1_t"))


async def test_who_is_installed_where(apps: Store) -> None:
    await opened(apps, "mer_2")
    await opened(apps, "mer_3", status="suspended")
    both = [grant("app_2"), grant("app_1"), grant("app_1", "mer_2")]
    waiting = grant("app_3", status="pending_exchange")
    await installed(apps, *both, waiting, grant("app_4", status="revoked"), grant("app_1", "mer_3"))
    async with transaction(apps.pool) as connection:
        found = await installs.installed(connection, [("mer_1", "test"), ("mer_1", "test"), ("mer_3", "test")])
        everywhere = await installs.installs_of(connection, "app_1")
    assert found == [
        InstalledApp(app_id, f"grt_{app_id}_mer_1", "mer_1", "test", frozenset({"orders.read"}))
        for app_id in ("app_1", "app_2")
    ]
    assert {app.merchant_id for app in everywhere} == {"mer_1", "mer_2"}


async def test_a_merchant_has_an_app_once_until_it_is_revoked(apps: Store) -> None:
    first = grant()
    await installed(apps, first)
    await installed(apps, replace(first, grant_id="grt_2", install_id="ins_2", updated_at=NOW + SECOND))
    [install], [known] = await apps.rows("installs"), await apps.rows("environment_grants")
    assert (install["install_id"], known["grant_id"], known["updated_at"]) == (
        first.install_id,
        first.grant_id,
        NOW + SECOND,
    )
    async with transaction(apps.pool) as connection:
        held = await installs.lock_by_grant(connection, first.grant_id)
        assert held is not None
        assert held[1] == [replace(first, updated_at=NOW + SECOND)]
        ended: dict[str, Any] = {"status": "revoked", "updated_at": NOW, "revoked_at": NOW}
        await installs.save_grant(connection, replace(first, **ended))
        await installs.save_install(connection, replace(held[0], **ended))
        assert await installs.lock_by_grant(connection, "grt_2") is None
        assert await installs.lock(connection, "ins_2") is None
    await installed(apps, replace(first, grant_id="grt_2", install_id="ins_2"))
    assert {row["status"] for row in await apps.rows("environment_grants")} == {"active", "revoked"}


async def test_two_that_install_an_app_at_once(apps: Store) -> None:
    async with transaction(apps.pool) as connection:
        await installs.live_grant(connection, grant())
        second = asyncio.create_task(installed(apps, grant(grant_id="grt_2")))
        assert await waits(second)
    await second
    assert [row["grant_id"] for row in await apps.rows("environment_grants")] == ["grt_app_1_mer_1"]


async def test_an_install_is_changed_by_one_at_a_time(apps: Store) -> None:
    await installed(apps, grant())

    async def lock() -> None:
        async with transaction(apps.pool) as connection:
            await installs.lock(connection, "ins_app_1_mer_1")

    async with transaction(apps.pool) as connection:
        await installs.lock(connection, "ins_app_1_mer_1")
        second = asyncio.create_task(lock())
        assert await waits(second)
    await second


async def test_refresh_tokens_of_a_grant_end(apps: Store) -> None:
    async with transaction(apps.pool) as connection:
        await tokens.revoke_refresh(connection, "grt_1")
    assert await apps.rows("refresh_tokens") == []


async def test_nothing_is_over(apps: Store) -> None:
    await tokens.forget_over(apps.pool, NOW, timedelta(days=1), 10)
    await staff.forget_over(apps.pool, NOW, timedelta(days=1))
    waiting = grant(status="pending_exchange")
    await installed(apps, waiting, grant("app_2"))
    assert await installs.never_exchanged(apps.pool, NOW, 10) == []
    assert await installs.never_exchanged(apps.pool, NOW + SECOND, 10) == [waiting]


async def test_what_was_done_is_noted(apps: Store) -> None:
    target = new_id("mer")
    entry = By(Actor(type="system", id="tests"), NOW, "req_1").did("merchant.created", target, merchant_id=target)
    async with transaction(apps.pool) as connection:
        await audit_log.insert(connection, new_id("aud"), entry)
    [row] = [row for row in await apps.rows("audit_log") if row["target_id"] == target]
    assert (row["created_at"], row["action"], row["merchant_id"], row["environment"], row["request_id"]) == (
        NOW,
        "merchant.created",
        target,
        None,
        "req_1",
    )


async def test_uses_of_what_is_no_key_are_passed_over(apps: Store) -> None:
    async with transaction(apps.pool) as connection:
        await api_keys.used(connection, {"grt_1": NOW, "key_1": NOW + timedelta(seconds=1)})
    assert await apps.rows("api_keys") == []


async def test_signing_keys_are_kept_by_one_at_a_time(apps: Store) -> None:
    async def keep() -> list[KeyRow]:
        async with transaction(apps.pool) as connection:
            await signing_keys.lock(connection)
            return await signing_keys.active(connection)

    async with transaction(apps.pool) as connection:
        await signing_keys.lock(connection)
        await signing_keys.lock(connection)
        second = asyncio.create_task(keep())
        assert await waits(second)
        for kid, seconds, status in (("b", 0, "active"), ("a", 0, "active"), ("c", 1, "retired")):
            row = KeyRow(kid, PublicKey(x="x" * 43, y="y" * 43), b"sealed", NOW + seconds * SECOND, NOW)
            await signing_keys.insert(connection, row)
            if status == "retired":
                await signing_keys.retire(connection, kid)
    assert [key.kid for key in await second] == ["a", "b"]
