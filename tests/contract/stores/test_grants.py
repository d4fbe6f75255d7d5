"""The copy of the grants."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from shared.auth.table import (
    GrantRecord,
    KeyRecord,
    forget_offsets,
    load_grant,
    load_offsets,
    load_signing_keys,
    origin_is_listed,
    pin_version,
    save_records,
)
from shared.clock import utc_now
from shared.contracts.access import Grant, PublicKey, SigningKey
from shared.postgres import transaction
from tests.contract.stores.store import Store, waits

HASH = "a" * 64


def record(offset: int, *, name: str = HASH, partition: int = 0, **fields: Any) -> GrantRecord:
    given = {"grant_id": "key_1", "kind": "api_key", "merchant_id": "mer_1", "environment": "test"}
    grant = Grant.model_validate(given | {"credential_hash": name, "scopes": ["orders.read"]} | fields)
    return GrantRecord(name, grant, partition, offset)


def tombstone(offset: int, name: str = HASH) -> GrantRecord:
    return GrantRecord(name, None, 0, offset)


async def test_a_grant_is_loaded_as_it_was_saved(either: Store) -> None:
    ends = utc_now() + timedelta(hours=1)
    await save_records(either.pool, [record(0, expires_at=ends, allowed_origins=["https://a"])], {0: 1})
    found = await load_grant(either.pool, HASH)
    assert found is not None
    access = found.access
    assert (access.grant_id, access.kind, access.merchant_id, access.environment) == (
        "key_1",
        "api_key",
        "mer_1",
        "test",
    )
    assert (access.scopes, access.allowed_origins, access.api_version) == (
        frozenset({"orders.read"}),
        ("https://a",),
        None,
    )
    assert (found.active, found.access.expires_at) == (True, ends)
    assert await load_grant(either.pool, "b" * 64) is None


async def test_the_record_with_the_highest_offset_counts(either: Store) -> None:
    await save_records(either.pool, [record(4, grant_id="key_4"), record(5, grant_id="key_5")], {0: 6})
    for older in (record(5, grant_id="key_again"), record(3, grant_id="key_3"), tombstone(5)):
        await save_records(either.pool, [older], {0: 4})
    found = await load_grant(either.pool, HASH)
    assert found is not None
    assert (found.access.grant_id, found.active) == ("key_5", True)
    assert await load_offsets(either.pool) == {0: 6}
    await save_records(either.pool, [tombstone(6), tombstone(6, "b" * 64)], {0: 7, 1: 3})
    found = await load_grant(either.pool, HASH)
    assert found is not None
    assert not found.active
    assert await load_offsets(either.pool) == {0: 7, 1: 3}
    assert len(await either.rows("grants")) == 1, "a tombstone makes no grant"


async def test_the_records_of_a_topic_that_was_made_anew_are_newer(either: Store) -> None:
    await save_records(either.pool, [record(9), record(9, name="b" * 64, partition=1)], {0: 10, 1: 10})
    await forget_offsets(either.pool, 0)
    assert await load_offsets(either.pool) == {1: 10}
    renewed = [record(0, grant_id="key_new"), record(0, name="b" * 64, partition=1, grant_id="key_new")]
    await save_records(either.pool, renewed, {0: 1})
    ids = {row["credential_hash"]: row["grant_id"] for row in await either.rows("grants")}
    assert ids == {HASH: "key_new", "b" * 64: "key_1"}


async def test_the_first_version_stays_pinned_whatever_is_saved(either: Store) -> None:
    await pin_version(either.pool, HASH, "2026-11-01")
    await save_records(either.pool, [record(0)], {})
    await pin_version(either.pool, HASH, "2026-11-02")
    await pin_version(either.pool, HASH, "2026-11-03")
    await save_records(either.pool, [record(1)], {})
    found = await load_grant(either.pool, HASH)
    assert found is not None
    assert found.access.api_version == "2026-11-02"


@pytest.mark.parametrize(
    ("fields", "listed"),
    [
        ({}, True),
        ({"status": "revoked"}, False),
        ({"expires_at": utc_now() - timedelta(minutes=1)}, False),
        ({"expires_at": utc_now() + timedelta(minutes=10)}, True),
        ({"allowed_origins": []}, False),
    ],
)
async def test_an_origin_is_listed_by_a_live_grant(either: Store, fields: dict[str, Any], listed: bool) -> None:
    origins = {"allowed_origins": ["https://a", "https://b"]}
    await save_records(either.pool, [record(0, **origins | fields)], {})
    assert await origin_is_listed(either.pool, "https://b") is listed
    assert not await origin_is_listed(either.pool, "https://c")


def key_record(offset: int, kid: str = "key_1", **fields: Any) -> KeyRecord:
    jwk = {"x": "x" * 43, "y": "y" * 43} | fields.pop("public_jwk", {})
    return KeyRecord(SigningKey.model_validate({"kid": kid, "public_jwk": jwk} | fields), 0, offset)


async def test_the_newest_of_each_signing_key_counts_while_it_is_active(either: Store) -> None:
    await save_records(either.pool, [], {0: 6}, [key_record(4), key_record(5, "key_2")])
    newer = key_record(6, public_jwk={"x": "z" * 43})
    await save_records(either.pool, [], {0: 8}, [newer, key_record(7, "key_2", status="retired")])
    await save_records(either.pool, [], {0: 5}, [key_record(4), key_record(5, "key_2")])
    assert await load_signing_keys(either.pool) == {"key_1": PublicKey(x="z" * 43, y="y" * 43)}
    await forget_offsets(either.pool, 0)
    await save_records(either.pool, [], {0: 1}, [key_record(0)])
    assert await load_signing_keys(either.pool) == {"key_1": PublicKey(x="x" * 43, y="y" * 43)}


async def test_two_tails_that_save_at_once(either: Store) -> None:
    """Both save the same records in the same order of locks."""
    records = [record(offset, name=f"{offset % 7}" * 64) for offset in range(20)]
    await asyncio.gather(*(save_records(either.pool, records, {0: 20}) for _ in range(4)))
    assert {row["topic_offset"] for row in await either.rows("grants")} == set(range(13, 20))
    async with transaction(either.pool) as first:
        await first.execute("UPDATE grants SET topic_offset = -1 WHERE topic_partition = $1", 0)
        second = asyncio.create_task(save_records(either.pool, [tombstone(30, "0" * 64)], {0: 21}))
        assert await waits(second)
    await second
    rows = {row["credential_hash"][0]: (row["status"], row["topic_offset"]) for row in await either.rows("grants")}
    assert (rows["0"], rows["1"]) == (("revoked", 30), ("active", -1))
