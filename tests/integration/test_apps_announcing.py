"""Every grant is published again by one command: to services whose topic was lost, and to whoever missed a word."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from deploy.local.datadir import REPOSITORY
from services.apps.announcing import Announcer, Progress
from shared.clock import utc_now
from shared.postgres import Pool
from shared.topics import ACCESS_GRANTS
from tests.apps import run
from tests.people import Town
from tests.stack import Stack, eventually, tail

pytestmark = pytest.mark.servers


@pytest.fixture
async def town(stack: Stack) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(stack, exits)


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[Pool]:
    made = Pool(stack.settings.database_url.get_secret_value(), "apps", 4)
    await made.open()
    yield made
    await made.close()


async def newest(stack: Stack) -> dict[str, dict[str, Any]]:
    """What the topic says last of each of its keys."""
    found: dict[str, dict[str, Any]] = {}
    async with tail(stack.settings.kafka, ACCESS_GRANTS) as records:
        ends = await records.end_offsets(records.assignment())
        for partition, end in ends.items():
            while await records.position(partition) < end:
                for batch in (await records.getmany(timeout_ms=500)).values():
                    found |= {record.key.decode(): orjson.loads(record.value) for record in batch if record.value}
    return found


async def published(stack: Stack, pool: Pool) -> dict[str, dict[str, Any]]:
    """The same, once nothing waits in the outbox."""

    async def nothing_waits() -> bool:
        return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

    await eventually(nothing_waits)
    return await newest(stack)


async def test_what_a_service_missed_it_is_told_again(stack: Stack, town: Town, pool: Pool) -> None:
    """A copy that holds a wrong word, as after a loss of the topic, is put right: both ways."""
    merchant_id = await town.merchant()
    revoked, works = await town.key(merchant_id), await town.key(merchant_id)
    secrets = [client.headers["Authorization"].split()[1] for client in (revoked, works)]
    ids = [(await client.get("/v1/auth-context")).json()["data"]["grant_id"] for client in (revoked, works)]
    assert (await works.post(f"/v1/api-keys/{ids[0]}/revoke")).status_code == 200

    async def status(client: Any) -> int:
        return int((await client.get("/v1/auth-context")).status_code)

    await eventually(lambda: _is(status(revoked), 401))
    said = await published(stack, pool)
    hashes = {row["grant_id"]: key for key, row in said.items() if row.get("grant_id") in ids}
    wrong = [said[hashes[ids[0]]] | {"status": "active"}, said[hashes[ids[1]]] | {"status": "revoked"}]
    for word in wrong:
        key = word["credential_hash"].encode()
        await stack.kafka.send_and_wait(ACCESS_GRANTS, key=key, value=orjson.dumps(word))
    await eventually(lambda: _is(status(revoked), 200))
    await eventually(lambda: _is(status(works), 401))

    seen: list[Progress] = []
    assert await Announcer(pool, utc_now, seen.append, merchant_id).run() == 2
    await eventually(lambda: _is(status(revoked), 401))
    await eventually(lambda: _is(status(works), 200))
    assert (seen[-1].done, seen[-1].of) == (2, 2)
    text = str(await pool.fetch("SELECT * FROM outbox"))
    assert not [secret for secret in secrets if secret in text]


async def _is(status: Any, wanted: int) -> bool:
    return bool(await status == wanted)


async def test_all_that_was_ever_announced_is_announced_in_steps(stack: Stack, town: Town, pool: Pool) -> None:
    """1,100 grants of apps, of which one merchant is suspended and some are revoked or were never announced."""
    merchant_id, resting = await town.merchant(), await town.merchant()
    await town.key(merchant_id)
    await run(
        stack,
        """
        INSERT INTO environment_grants (grant_id, install_id, app_id, merchant_id, environment, permission_ids, scopes,
                                        status, approved_by, created_at, updated_at)
        SELECT 'grt_' || $1 || n, 'ins_' || n, 'app_' || n, CASE n % 4 WHEN 0 THEN $2 ELSE $1 END, 'test', '{}',
            '{orders.read}', CASE n % 11 WHEN 0 THEN 'revoked' WHEN 1 THEN 'pending_exchange' ELSE 'active' END,
            'usr_1', now(), now()
        FROM generate_series(1, 1100) AS n
        """,
        merchant_id,
        resting,
    )
    suspended = await stack.platform.patch(f"/v1/merchants/{resting}", json={"status": "suspended"})
    assert suspended.status_code == 200
    before = set(await published(stack, pool))
    seen: list[Progress] = []
    done = await Announcer(pool, utc_now, seen.append).run()
    assert done == seen[-1].done == seen[-1].of
    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert len({progress.done for progress in seen}) >= 3
    said = await published(stack, pool)
    mine = {key: word for key, word in said.items() if key.startswith(f"grt_{merchant_id}")}
    assert len(mine) == 1_000
    expected = {
        f"grt_{merchant_id}{n}": "revoked" if n % 11 == 0 or n % 4 == 0 else "active"
        for n in range(1, 1_101)
        if n % 11 != 1
    }
    assert {key: word["status"] for key, word in mine.items()} == expected
    assert before <= set(said)
    assert any("public_jwk" in word for word in said.values())


async def test_the_words_are_those_that_were_said_before(stack: Stack, town: Town, pool: Pool) -> None:
    """Nothing is changed by saying it again, and types and keys are right for every reader."""
    merchant_id = await town.merchant()
    key = await town.key(merchant_id)
    made = (await key.post("/v1/api-keys", json={"name": "Till", "scopes": ["orders.read"]})).json()["data"]
    rotated = await key.post(f"/v1/api-keys/{made['api_key_id']}/rotate", json={"overlap_s": 0})
    assert rotated.status_code == 200, rotated.text
    before = await published(stack, pool)
    await Announcer(pool, utc_now, lambda _: None).run()
    after = await published(stack, pool)
    mine = [key for key, word in before.items() if word.get("merchant_id") == merchant_id]
    assert len(mine) == 3
    assert [after[key] for key in mine] == [before[key] for key in mine]
    keys = [key for key in before if key.startswith("sgk_") and after[key] != before[key]]
    assert keys == []


async def test_while_much_waits_nothing_is_added(stack: Stack, pool: Pool) -> None:
    """Rows that no relay takes, since their shard is none."""
    waits = asyncio.Event()

    def report(progress: Progress) -> None:
        if progress.waiting:
            waits.set()

    fill = """
        INSERT INTO outbox (shard, id, aggregatetype, aggregateid, type, headers, payload)
        SELECT -1, 'filling', 'nowhere', 'nowhere', 'nothing', '{}', '' FROM generate_series(1, 5000)
    """
    await pool.execute(fill)
    try:
        announcing = asyncio.create_task(Announcer(pool, utc_now, report).run())
        async with asyncio.timeout(20):
            await waits.wait()
        assert not announcing.done()
    finally:
        await pool.execute("DELETE FROM outbox WHERE id = 'filling'")
    async with asyncio.timeout(60):
        assert await announcing > 0


async def test_the_command_says_what_it_did(stack: Stack, town: Town) -> None:
    merchant_id = await town.merchant()
    await town.key(merchant_id)
    env = os.environ | {"DATABASE_URL": stack.settings.database_url.get_secret_value()}

    async def announce(merchant: str) -> tuple[str, int | None]:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from deploy.cli import app; app()", "announce-grants", "--merchant", merchant),
            env=env,
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await running.communicate()
        return " ".join(said.decode().split()), running.returncode

    said, code = await announce(merchant_id)
    assert (code, "1 keys and environment grants are announced" in said) == (0, True), said
    said, code = await announce("mer_nobody")
    assert (code, said) == (1, "There is no merchant mer_nobody.")
