"""The acquirer's ledger in PostgreSQL: rows that add up, that nobody can change, and that no other service can read."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from services.sandbox.app import SandboxProcess
from shared.contracts.sandbox import Operation, SandboxOutcome, SandboxRequest
from shared.faults import OutcomeUnknown, Poison
from shared.ids import new_id
from shared.migrations import migrate
from shared.postgres import connect
from tests.servers import Servers
from tests.stack import settings_for

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def process(servers: Servers) -> AsyncIterator[SandboxProcess]:
    for service in ("sandbox", "payments"):
        await migrate(servers.database_url, service)
    made = SandboxProcess(settings_for(servers))
    async with made.running():
        yield made


async def ask(
    process: SandboxProcess, operation: Operation, amount: int, reference: str | None = None, **fields: Any
) -> SandboxOutcome:
    known = {"merchant_id": "mer_ledger", "environment": "test", "attempt_id": new_id("att"), "currency": "EUR"}
    known |= {"token": "sandbox_approve", "order_id": "ord_1", "payment_intent_id": "pi_1"}
    wanted = {"operation": operation, "amount_minor": amount, "reference": reference, "capture": False}
    return await process.acquirer.ask(SandboxRequest.model_validate(known | wanted | fields))


async def test_every_movement_is_two_rows_that_add_up(process: SandboxProcess, servers: Servers) -> None:
    held = await ask(process, "authorize", 900)
    for operation, amount in (("capture", 500), ("refund", 200), ("void", 400)):
        assert (await ask(process, operation, amount, held.reference)).status == "approved"  # type: ignore[arg-type]
    connection = await connect(servers.database_url, "sandbox")
    try:
        of_payment = "FROM entries WHERE payment_id = $1"
        sums = await connection.fetch(
            f"SELECT count(*), sum(amount_minor)::bigint {of_payment} GROUP BY movement_id", held.reference
        )
        assert [tuple(row) for row in sums] == [(2, 0)] * 4
        balances = await connection.fetch(
            f"SELECT account, sum(amount_minor)::bigint {of_payment} GROUP BY account ORDER BY account", held.reference
        )
        assert dict(map(tuple, balances)) == {"held": 0, "holder": -300, "merchant": 300}
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE entries SET amount_minor = 1", "DELETE FROM entries", "TRUNCATE entries"]
)
async def test_the_ledger_is_only_added_to(process: SandboxProcess, servers: Servers, statement: str) -> None:
    held = await ask(process, "authorize", 900)
    connection = await connect(servers.database_url, "sandbox")
    try:
        with pytest.raises(asyncpg.RaiseError, match="only added to"):
            await connection.execute(statement)
        assert await connection.fetchval("SELECT count(*) FROM entries WHERE payment_id = $1", held.reference) == 2
    finally:
        await connection.close()


async def test_what_comes_at_once_is_done_one_after_the_other(process: SandboxProcess) -> None:
    held = await ask(process, "authorize", 900)
    asked = (ask(process, "capture", 100, held.reference) for _ in range(12))
    answers = [(each.status, each.code) for each in await asyncio.gather(*asked)]
    assert sorted(answers, key=str) == [("approved", None)] * 9 + [("declined", "nothing_held")] * 3


async def test_an_attempt_that_comes_in_many_times_at_once_moves_money_once(
    process: SandboxProcess, servers: Servers
) -> None:
    other = SandboxProcess(settings_for(servers))
    async with other.running():
        name = new_id("att")
        each = (process, other) * 10
        answers = await asyncio.gather(*(ask(one, "authorize", 900, attempt_id=name) for one in each))
        assert {answer.reference for answer in answers} == {answers[0].reference}
        reference, again = answers[0].reference, new_id("att")
        await asyncio.gather(*(ask(one, "capture", 300, reference, attempt_id=again) for one in each))
    assert (await ask(process, "capture", 601, reference)).code == "exceeds_authorization"
    assert (await ask(process, "capture", 600, reference)).status == "approved"


async def test_what_goes_wrong_with_one_request_is_not_the_others(process: SandboxProcess) -> None:
    taken = new_id("att")
    await ask(process, "authorize", 900, attempt_id=taken)
    answers = await asyncio.gather(
        ask(process, "authorize", 100),
        ask(process, "authorize", 100, attempt_id=taken),
        ask(process, "authorize", 100, token="sandbox_lost_request"),
        ask(process, "authorize", 100),
        return_exceptions=True,
    )
    kinds = [SandboxOutcome, Poison, OutcomeUnknown, SandboxOutcome]
    assert [type(answer) for answer in answers] == kinds


async def test_no_service_reads_it(process: SandboxProcess, servers: Servers) -> None:
    connection = await connect(servers.database_url, "payments")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM sandbox.entries")
    finally:
        await connection.close()
