"""A service's copy of the grants on a real broker and database: it follows at once, and outlives outages."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from time import monotonic

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from joserfc import jwt
from joserfc.jwk import ECKey
from structlog.testing import capture_logs

from shared.auth import GRANTS_TABLE, SIGNING_KEYS_TABLE, Access, GrantsCopy, hash_credential, new_api_key
from shared.auth.table import GrantRecord, save_records
from shared.auth.tokens import AccessTokens
from shared.contracts.access import SIGNING_KEY_V1, Grant, PublicKey, SigningKey
from shared.faults import Transient
from shared.kafka_admin import KafkaAdmin
from shared.postgres import Pool
from shared.settings import KafkaSettings
from shared.topics import TopicSpec
from tests.raw_batches import NotUtf8, raw_batch
from tests.schemas import schema_with
from tests.servers import Servers
from tests.stack import eventually

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)


class Apps:
    """The service that publishes grants, as far as its topic shows."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer, self.topic = producer, topic

    async def publish(self, grant: Grant) -> None:
        await self.send(grant.credential_hash.encode(), grant.model_dump_json().encode())

    async def publish_key(self, key: SigningKey) -> None:
        headers = [("ce_type", SIGNING_KEY_V1.encode())]
        await self._producer.send_and_wait(
            self.topic, key=key.kid.encode(), value=key.model_dump_json().encode(), headers=headers
        )

    async def send(self, key: bytes, value: bytes | None) -> None:
        await self._producer.send_and_wait(self.topic, key=key, value=value)

    async def send_raw(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        batch = raw_batch(self._producer, (key, value, headers))
        await (await self._producer.send_batch(batch, self.topic, partition=0))


@pytest.fixture
def kafka(servers: Servers) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=servers.kafka_bootstrap_servers)


@pytest.fixture
async def apps(kafka: KafkaSettings) -> AsyncIterator[Apps]:
    topic, admin = f"grants-{uuid.uuid4().hex[:10]}", KafkaAdmin(kafka)
    await admin.ensure_topics([TopicSpec(topic, 1, {"cleanup.policy": "compact"})])
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    await producer.start()
    yield Apps(producer, topic)
    await producer.stop()
    await admin.delete_topics([topic])


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    async with schema_with(servers.database_url, GRANTS_TABLE + SIGNING_KEYS_TABLE) as pool:
        yield pool


def grant(credential_hash: str, **fields: object) -> Grant:
    values: dict[str, object] = {
        "grant_id": "key_1",
        "credential_hash": credential_hash,
        "kind": "api_key",
        "merchant_id": "mer_1",
        "environment": "test",
        "scopes": ("orders.write",),
    }
    return Grant.model_validate(values | fields)


def fresh_hash() -> str:
    return hash_credential(new_api_key("test"))


def copy_of(apps: Apps, kafka: KafkaSettings) -> GrantsCopy:
    return GrantsCopy(kafka, "test", lambda: NOW, apps.topic)


async def soon(copy: GrantsCopy, credential_hash: str, *, allowed: bool) -> Access | None:
    """What the copy says once it says so; fails when it does not within a second."""
    deadline = monotonic() + 1
    while True:
        access = await copy.find(credential_hash)
        if (access is not None) is allowed:
            return access
        assert monotonic() < deadline, f"not {'allowed' if allowed else 'refused'} within a second"
        await asyncio.sleep(0.01)


async def ready(copy: GrantsCopy) -> None:
    async with asyncio.timeout(10):
        await copy.wait_until_ready()


async def test_a_grant_and_its_end_reach_every_process_within_a_second(
    apps: Apps, kafka: KafkaSettings, pool: Pool
) -> None:
    key = fresh_hash()
    copies = [copy_of(apps, kafka) for _ in range(3)]
    async with AsyncExitStack() as running:
        for copy in copies:
            await running.enter_async_context(copy.running(pool))
            await ready(copy)
            assert await copy.find(key) is None
        await apps.publish(grant(key, allowed_origins=("https://shop.example",)))
        for copy in copies:
            access = await soon(copy, key, allowed=True)
            assert access == Access(
                "key_1", key, "api_key", "mer_1", "test", frozenset({"orders.write"}), ("https://shop.example",)
            )
            assert await copy.origin_is_listed("https://shop.example")
            assert not await copy.origin_is_listed("https://other.example")
        await apps.publish(grant(key, status="revoked", allowed_origins=("https://shop.example",)))
        for copy in copies:
            await soon(copy, key, allowed=False)
            assert not await copy.origin_is_listed("https://shop.example")


async def test_a_tombstone_ends_a_grant(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    key, copy = fresh_hash(), copy_of(apps, kafka)
    await apps.publish(grant(key))
    async with copy.running(pool):
        await soon_after_start(copy, key)
        await apps.send(key.encode(), None)
        await soon(copy, key, allowed=False)


async def soon_after_start(copy: GrantsCopy, key: str) -> None:
    await ready(copy)
    assert await copy.find(key) is not None


async def test_it_is_ready_only_when_it_has_what_the_topic_held(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    keys, copy = [fresh_hash() for _ in range(50)], copy_of(apps, kafka)
    for key in keys:
        await apps.publish(grant(key))
    assert copy.not_ready() is not None
    async with copy.running(pool):
        await ready(copy)
        assert copy.not_ready() is None
        assert copy.stalled() is None
        assert all([await copy.find(key) for key in keys])


async def test_a_fresh_service_has_thousands_of_grants_before_it_is_ready(
    apps: Apps, kafka: KafkaSettings, pool: Pool
) -> None:
    keys, copy = [fresh_hash() for _ in range(4_500)], copy_of(apps, kafka)
    await asyncio.gather(*(apps.publish(grant(key)) for key in keys))
    async with copy.running(pool):
        await ready(copy)
        assert await pool.fetchval("SELECT count(*) FROM grants") == len(keys)
        assert await copy.find(keys[-1]) is not None


async def test_what_is_no_grant_is_skipped(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    key, copy = fresh_hash(), copy_of(apps, kafka)
    for bad_key, value in ((b"k", b"not json"), (b"k", b"{}"), (b"other", grant(key).model_dump_json().encode())):
        await apps.send(bad_key, value)
    await apps.publish(grant(key))
    async with copy.running(pool):
        await soon_after_start(copy, key)
    assert await pool.fetchval("SELECT count(*) FROM grants") == 1


@pytest.mark.parametrize("origin", ["https://a\0.example", "https://" + "x" * 5_000 + ".example"])
async def test_a_grant_that_could_not_be_kept_is_skipped(
    apps: Apps, kafka: KafkaSettings, pool: Pool, origin: str
) -> None:
    key, copy = fresh_hash(), copy_of(apps, kafka)
    bad = grant(fresh_hash()).model_dump() | {"allowed_origins": [origin]}
    await apps.send(bad["credential_hash"].encode(), orjson.dumps(bad))
    await apps.publish(grant(key))
    async with copy.running(pool):
        await soon_after_start(copy, key)
        assert copy.stalled() is None


async def test_a_header_name_that_is_not_utf8_does_not_end_the_tail(
    apps: Apps, kafka: KafkaSettings, pool: Pool
) -> None:
    first, second, copy = fresh_hash(), fresh_hash(), copy_of(apps, kafka)
    odd = grant(first)
    await apps.send_raw(odd.credential_hash.encode(), odd.model_dump_json().encode(), [(NotUtf8("x"), b"1")])
    await apps.publish(grant(second))
    async with copy.running(pool):
        await soon_after_start(copy, first)
        assert await copy.find(second) is not None
        assert copy.stalled() is None


async def test_a_grant_ends_by_the_clock(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    now, key = NOW, fresh_hash()
    copy = GrantsCopy(kafka, "test", lambda: now, apps.topic)
    await apps.publish(grant(key, expires_at=NOW + timedelta(minutes=1)))
    async with copy.running(pool):
        await soon_after_start(copy, key)
        now = NOW + timedelta(minutes=1)
        assert await copy.find(key) is None


async def test_a_restart_goes_on_where_the_table_is(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    old, new = fresh_hash(), fresh_hash()
    await apps.publish(grant(old))
    copy = copy_of(apps, kafka)
    async with copy.running(pool):
        await soon_after_start(copy, old)
    await apps.publish(grant(old, status="revoked"))
    await apps.publish(grant(new))
    again = copy_of(apps, kafka)
    async with again.running(pool):
        await soon_after_start(again, new)
        assert await again.find(old) is None
    assert await pool.fetchval("SELECT next_offset FROM grant_offsets") == 3


async def test_an_older_record_changes_nothing(pool: Pool) -> None:
    key = fresh_hash()
    await save_records(pool, [GrantRecord(key, grant(key, status="revoked"), 0, 9)], {0: 10})
    await save_records(pool, [GrantRecord(key, grant(key), 0, 5)], {0: 6})
    assert await status(pool, key) == "revoked"
    assert await pool.fetchval("SELECT topic_offset FROM grants") == 9
    assert await pool.fetchval("SELECT next_offset FROM grant_offsets") == 10


async def test_a_topic_that_was_made_anew_is_read_from_its_start(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    key = fresh_hash()
    await save_records(pool, [GrantRecord(key, grant(key), 0, 900)], {0: 901})
    await apps.publish(grant(key, status="revoked"))
    copy = copy_of(apps, kafka)
    async with copy.running(pool):
        await ready(copy)
        assert await copy.find(key) is None


async def test_a_topic_that_is_made_anew_under_a_running_copy_is_read_from_its_start(
    apps: Apps, kafka: KafkaSettings, pool: Pool
) -> None:
    """However few records it had before and however many it gets: whoever publishes waits until the copies know."""
    key, admin = fresh_hash(), KafkaAdmin(kafka)
    copy = copy_of(apps, kafka)
    async with copy.running(pool):
        for _ in range(3):
            await apps.publish(grant(key))
        await soon(copy, key, allowed=True)
        with capture_logs() as logs:
            await admin.delete_topics([apps.topic])
            await admin.ensure_topics([TopicSpec(apps.topic, 1, {"cleanup.policy": "compact"})])

            async def noticed() -> bool:
                return "grants topic was made anew" in [told["event"] for told in logs]

            await eventually(noticed, within_s=60)
        for _ in range(9):
            await apps.publish(grant(fresh_hash()))
        await apps.publish(grant(key, status="revoked"))

        async def refused() -> bool:
            return await copy.find(key) is None

        await eventually(refused)
    assert await pool.fetchval("SELECT next_offset FROM grant_offsets") == 10


async def test_without_kafka_it_answers_from_the_table(pool: Pool) -> None:
    key = fresh_hash()
    await save_records(pool, [GrantRecord(key, grant(key), 0, 0)], {0: 1})
    copy = GrantsCopy(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "test", lambda: NOW)
    async with copy.running(pool):
        assert await copy.find(key) is not None
        await asyncio.sleep(0.5)
        assert await copy.find(key) is not None
        assert not copy.is_ready()


async def test_without_the_database_it_says_try_later(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    key, copy = fresh_hash(), copy_of(apps, kafka)
    async with copy.running(pool):
        await ready(copy)
        await pool.close()
        with pytest.raises(Transient):
            await copy.find(key)
        await pool.open()
        await apps.publish(grant(key))
        await soon(copy, key, allowed=True)


DISK_IS_FULL = """
CREATE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER disk_is_full BEFORE UPDATE ON grants EXECUTE FUNCTION disk_is_full();
"""


async def test_a_revocation_that_cannot_be_saved_holds_all_the_same(
    apps: Apps, kafka: KafkaSettings, pool: Pool
) -> None:
    key, other, copy = fresh_hash(), fresh_hash(), copy_of(apps, kafka)
    await apps.publish(grant(key))
    await apps.publish(grant(other))
    async with copy.running(pool):
        await soon_after_start(copy, key)
        await pool.execute(DISK_IS_FULL)
        await apps.publish(grant(key, status="revoked"))
        await asyncio.sleep(1)
        assert await status(pool, key) == "active"
        with pytest.raises(Transient):
            await copy.find(key)
        assert await copy.find(other) is not None
        await pool.execute("DROP TRIGGER disk_is_full ON grants")
        await until(lambda: is_revoked(copy, key), seconds=8)
        assert await status(pool, key) == "revoked"


async def is_revoked(copy: GrantsCopy, key: str) -> bool:
    try:
        return await copy.find(key) is None
    except Transient:
        return False


async def test_a_tail_that_ended_is_no_longer_alive(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    copy = copy_of(apps, kafka)
    await pool.execute("ALTER TABLE grant_offsets ALTER COLUMN next_offset TYPE text")
    await pool.execute("INSERT INTO grant_offsets VALUES (0, 'no number')")
    async with copy.running(pool):
        await until(lambda: stalled(copy), seconds=5)
        assert copy.stalled() == "the grants tail has ended"


async def stalled(copy: GrantsCopy) -> bool:
    return copy.stalled() is not None


async def until(holds: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Returns once it holds; fails when it does not in time."""
    deadline = monotonic() + seconds
    while not await holds():
        assert monotonic() < deadline
        await asyncio.sleep(0.02)


async def status(pool: Pool, key: str) -> str:
    return str(await pool.fetchval("SELECT status FROM grants WHERE credential_hash = $1", key))


async def test_a_version_is_pinned_on_first_use(apps: Apps, kafka: KafkaSettings, pool: Pool) -> None:
    key, copy = fresh_hash(), copy_of(apps, kafka)
    await apps.publish(grant(key))
    async with copy.running(pool):
        await ready(copy)
        first = await copy.find(key)
        assert first is not None
        assert first.api_version is None
        await copy.pin_version(first, "2026-11-01")
        await copy.pin_version(first, "2027-01-01")
        await apps.publish(grant(key, name="renamed", scopes=("orders.read",)))
        await until(lambda: has_scopes(copy, key, {"orders.read"}), seconds=1)
        renamed = await copy.find(key)
        assert renamed is not None
        assert renamed.api_version == "2026-11-01"


async def has_scopes(copy: GrantsCopy, key: str, scopes: set[str]) -> bool:
    access = await copy.find(key)
    return access is not None and access.scopes == scopes


PRIVATE = ECKey.generate_key("P-256", private=True)
SIGNING_KEY = SigningKey(
    kid="sgk_1", public_jwk=PublicKey(x=str(PRIVATE.as_dict()["x"]), y=str(PRIVATE.as_dict()["y"]))
)
ISSUER = "https://api.example"


def token() -> str:
    now = int(NOW.timestamp())
    claims = {
        "iss": ISSUER,
        "aud": f"{ISSUER}/v1",
        "sub": "ins_1",
        "client_id": "app_1",
        "iat": now,
        "exp": now + 600,
        "jti": "jti_1",
        "environment_grant_id": "grt_1",
    }
    return jwt.encode({"typ": "at+jwt", "alg": "ES256", "kid": "sgk_1"}, claims, PRIVATE, algorithms=["ES256"])


async def test_a_signing_key_and_its_end_reach_every_process_within_a_second(
    apps: Apps, kafka: KafkaSettings, pool: Pool
) -> None:
    copies, known = [copy_of(apps, kafka) for _ in range(3)], token()
    async with AsyncExitStack() as running:
        for copy in copies:
            await running.enter_async_context(copy.running(pool))
            await ready(copy)
        verifiers = [copy.access_tokens(ISSUER) for copy in copies]
        assert [await verifier.claims_of(known) for verifier in verifiers] == [None] * 3
        await apps.publish_key(SIGNING_KEY)
        for verifier in verifiers:
            await until(lambda verifier=verifier: knows(verifier, known, True), seconds=1)
        await apps.publish_key(SIGNING_KEY.model_copy(update={"status": "retired"}))
        for verifier in verifiers:
            await until(lambda verifier=verifier: knows(verifier, known, False), seconds=1)


async def knows(verifier: AccessTokens, known: str, expected: bool) -> bool:
    return (await verifier.claims_of(known) is not None) is expected


async def test_a_retired_key_that_cannot_be_saved_counts_no_more_all_the_same(
    apps: Apps, kafka: KafkaSettings, pool: Pool
) -> None:
    copy, known = copy_of(apps, kafka), token()
    await apps.publish_key(SIGNING_KEY)
    async with copy.running(pool):
        await ready(copy)
        verifier = copy.access_tokens(ISSUER)
        assert await verifier.claims_of(known) is not None
        await pool.execute(DISK_IS_FULL.replace("ON grants", "ON signing_keys"))
        await apps.publish_key(SIGNING_KEY.model_copy(update={"status": "retired"}))
        await asyncio.sleep(1)
        with pytest.raises(Transient):
            await verifier.claims_of(known)
        await pool.execute("DROP TRIGGER disk_is_full ON signing_keys")
        await until(lambda: refuses(verifier, known), seconds=8)


async def refuses(verifier: AccessTokens, known: str) -> bool:
    try:
        return await verifier.claims_of(known) is None
    except Transient:
        return False
