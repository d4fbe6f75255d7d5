"""Channels."""

import asyncio
from dataclasses import replace

from services.payments.core.state import Channel
from services.payments.store import channels
from services.payments.store.channels import ChannelRow
from shared.postgres import transaction
from tests.contract.stores.samples import NOW, SECOND
from tests.contract.stores.store import Store, waits


def row(channel_id: str = "chn_1", seconds: int = 0, **fields: object) -> ChannelRow:
    at = NOW + seconds * SECOND
    made = ChannelRow(channel_id, "mer_1", "test", "Web", "checkout", "provisioning", at, at)
    return replace(made, **fields)  # type: ignore[arg-type]


async def insert(payments: Store, *rows: ChannelRow) -> list[bool]:
    async with transaction(payments.pool) as connection:
        return [await channels.insert(connection, each) for each in rows]


async def move(payments: Store, before: list[str], after: str, name: str = "chn_1") -> ChannelRow | None:
    async with transaction(payments.pool) as connection:
        return await channels.move(connection, name, before, after, NOW + SECOND)  # type: ignore[arg-type]


async def test_an_id_belongs_to_the_first_who_takes_it(payments: Store) -> None:
    assert await insert(payments, row(), row("chn_2", source=None), row(merchant_id="mer_2")) == [True, True, False]
    assert await insert(payments, row(merchant_id="mer_3")) == [False]
    assert await channels.read(payments.pool, "mer_1", "test", "chn_1") == row()
    assert await channels.read(payments.pool, "mer_1", "test", "chn_2") == row("chn_2", source=None)
    for merchant, environment, name in (("mer_2", "test", "chn_1"), ("mer_1", "live", "chn_1"), ("mer_1", "test", "x")):
        assert await channels.read(payments.pool, merchant, environment, name) is None
    async with transaction(payments.pool) as first:
        assert await channels.insert(first, row("chn_3"))
        second = asyncio.create_task(insert(payments, row("chn_3", merchant_id="mer_2")))
        assert await waits(second)
    assert await second == [False]


async def test_a_tenant_renames_its_own(payments: Store) -> None:
    await insert(payments, row())
    async with transaction(payments.pool) as connection:
        later = NOW + SECOND
        assert await channels.rename(connection, "mer_2", "test", "chn_1", name="Shop", now=later) is None
        assert await channels.rename(connection, "mer_1", "test", "chn_9", name="Shop", now=later) is None
        renamed = await channels.rename(connection, "mer_1", "test", "chn_1", name="Shop", now=later)
    assert renamed == replace(row(), name="Shop", updated_at=later)
    assert await channels.read(payments.pool, "mer_1", "test", "chn_1") == renamed


async def test_a_channel_moves_from_the_statuses_before_only(payments: Store) -> None:
    await insert(payments, row())
    assert await move(payments, ["disabling"], "disabled") is None
    assert await move(payments, [], "disabled") is None
    assert await move(payments, ["active"], "disabling", "chn_9") is None
    active = await move(payments, ["active", "provisioning"], "active")
    assert active == row(status="active", updated_at=NOW + SECOND)
    async with transaction(payments.pool) as first:
        await channels.move(first, "chn_1", ["active"], "disabling", NOW)
        second = asyncio.create_task(move(payments, ["provisioning", "active"], "active"))
        assert await waits(second)
    assert await second is None, "looked at again after the wait"
    assert await channels.channels_by_id(payments.pool, ["chn_1"]) == {
        "chn_1": Channel("chn_1", "mer_1", "test", "disabling", "checkout")
    }


async def test_pages_go_back_in_time(payments: Store) -> None:
    made = [row("chn_1", 1), row("chn_2", 3), row("chn_3", 3), row("chn_4", 2)]
    await insert(payments, *made, row("chn_5", merchant_id="mer_2"), row("chn_6", environment="live"))

    async def page(after: ChannelRow | None, limit: int) -> list[str]:
        position = None if after is None else (after.created_at, after.channel_id)
        rows = await channels.page(payments.pool, "mer_1", "test", position, limit)
        return [each.channel_id for each in rows]

    assert await page(None, 3) == ["chn_3", "chn_2", "chn_4"]
    assert await page(made[2], 9) == ["chn_2", "chn_4", "chn_1"]
    assert await page(made[3], 9) == ["chn_1"]
    assert await page(made[0], 9) == []


async def test_unfinished_ones_are_found_oldest_first(payments: Store) -> None:
    await insert(
        payments,
        row("chn_1", 3),
        row("chn_2", 1, status="disabling"),
        row("chn_3", 1, status="active"),
        row("chn_4", 2),
        row("chn_5", 4),
        row("chn_6", 0, status="disabled"),
    )

    async def unfinished(seconds: int, limit: int = 9) -> list[str]:
        return [each.channel_id for each in await channels.unfinished(payments.pool, NOW + seconds * SECOND, limit)]

    assert await unfinished(4) == ["chn_2", "chn_4", "chn_1"]
    assert await unfinished(4, limit=2) == ["chn_2", "chn_4"]
    await move(payments, ["disabling"], "disabled", "chn_2")
    assert await unfinished(9) == ["chn_4", "chn_1", "chn_5"]


async def test_channels_are_found_whosever_they_are(payments: Store) -> None:
    await insert(payments, row("chn_1"), row("chn_2", merchant_id="mer_2", source=None, status="active"))
    assert await channels.channels_by_id(payments.pool, ["chn_2", "chn_1", "chn_2", "chn_3"]) == {
        "chn_1": Channel("chn_1", "mer_1", "test", "provisioning", "checkout"),
        "chn_2": Channel("chn_2", "mer_2", "test", "active", None),
    }
