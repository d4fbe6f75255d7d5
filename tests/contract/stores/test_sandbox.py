"""The acquirer's ledger: attempts once, payments locked, movements added."""

import asyncio
from datetime import timedelta
from typing import Any

from services.sandbox import store
from services.sandbox.core.payment import Change, LateRefund, Movement, Payment
from services.sandbox.store import Attempt
from shared.contracts.sandbox import SandboxOutcome, Whose
from shared.immutable import replace
from shared.postgres import Connection, transaction
from shared.writes import Mismatch, write
from tests.contract.stores.samples import NOW, SECOND
from tests.contract.stores.store import Store, waits

MINE, STRANGER = (Whose(merchant_id=name, environment="test") for name in ("mer_1", "mer_2"))
APPROVED = SandboxOutcome(status="approved", reference="sbp_1", amount_minor=900)


def payment(number: int = 1, **fields: Any) -> Payment:
    """900 held for a week."""
    made = Payment(
        f"sbp_{number}", "mer_1", "test", f"att_{number}", "ord_1", "pi_1", "EUR", "sandbox_approve", 900, False, None,
        NOW + timedelta(days=7),
    )  # fmt: skip
    return replace(made, **fields) if fields else made


def hold(number: int = 1, amount: int = 900) -> Movement:
    return Movement(f"sbm_{number}", "hold", f"att_{number}", "holder", "held", amount)


def attempt(number: int = 1, **fields: Any) -> Attempt:
    """Approved, of payment 1."""
    return replace(Attempt("mer_1", "test", f"att_{number}", "hash", APPROVED, "sbp_1"), **fields)


async def saved(sandbox: Store, *changes: Change, at: Any = NOW) -> None:
    async with transaction(sandbox.pool) as connection:
        await write(connection, *store.changed(changes, at))


async def locked(sandbox: Store, number: int = 1, whose: Whose = MINE) -> Payment | None:
    async with transaction(sandbox.pool) as connection:
        named = whose.merchant_id, whose.environment, f"sbp_{number}"
        return (await store.lock_payments(connection, [named])).get(named)


async def read(sandbox: Store, *names: str, whose: Whose = MINE) -> list[Attempt | None]:
    wanted = [(whose.merchant_id, whose.environment, name) for name in names]
    async with transaction(sandbox.pool) as connection:
        found = await store.read_attempts(connection, wanted)
    return [found.get(each) for each in wanted]


async def taken(connection: Connection, *attempts: Attempt) -> bool:
    """Whether all of their ids were free."""
    try:
        await write(connection, store.new_attempts(attempts))
    except Mismatch:
        return False
    return True


async def test_it_answers(sandbox: Store) -> None:
    assert await sandbox.pool.unreachable() is None


async def test_an_id_is_taken_once_for_each_merchant(sandbox: Store) -> None:
    strangers = attempt(merchant_id="mer_2", request_hash=None)
    async with transaction(sandbox.pool) as first:
        assert await taken(first)
        assert await taken(first, strangers, attempt(2), attempt())

        async def second() -> bool:
            async with transaction(sandbox.pool) as connection:
                return await taken(connection, attempt(3), attempt(request_hash="other"))

        late = asyncio.create_task(second())
        assert await waits(late)
    assert not await late
    assert await read(sandbox, "att_2", "att_1", "att_4") == [attempt(2), attempt(), None]
    assert await read(sandbox, "att_1", whose=STRANGER) == [strangers]


async def test_of_two_that_take_the_same_ids_one_waits_for_the_other(sandbox: Store) -> None:
    async def take(*attempts: Attempt) -> bool:
        async with transaction(sandbox.pool) as connection:
            return await taken(connection, *attempts)

    both = [attempt(number) for number in range(50)]
    assert sorted(await asyncio.gather(take(*both), take(*reversed(both)))) == [False, True]


async def test_a_payment_is_what_the_ledger_says(sandbox: Store) -> None:
    await saved(sandbox, Change(payment()).moved(hold()))
    assert await locked(sandbox) == payment(held_minor=900)
    capture = Movement("sbm_2", "capture", "att_2", "held", "merchant", 500)
    await saved(sandbox, Change(payment(held_minor=900)).moved(capture))
    void = Movement("sbm_3", "void", "att_3", "held", "holder", 300)
    expiry = Movement("sbm_4", "expiry", None, "held", "holder", 100)
    await saved(sandbox, Change(payment(held_minor=400, collected_minor=500)).moved(void).moved(expiry))
    assert await locked(sandbox) == payment(collected_minor=500, voided=True, expired=True)


async def test_another_merchants_payment_is_not_there(sandbox: Store) -> None:
    await saved(sandbox, Change(payment()).moved(hold()))
    assert await locked(sandbox, whose=STRANGER) is None
    assert await locked(sandbox, 2) is None
    assert await store.find_owner(sandbox.pool, "sbp_1") == MINE
    assert await store.find_owner(sandbox.pool, "sbp_2") is None


async def test_of_two_that_change_a_payment_the_second_sees_what_the_first_did(sandbox: Store) -> None:
    await saved(sandbox, Change(payment()).moved(hold()))
    async with transaction(sandbox.pool) as first:
        assert await store.lock_payments(first, [("mer_1", "test", "sbp_1")])
        second = asyncio.create_task(locked(sandbox))
        assert await waits(second)
        capture = Movement("sbm_2", "capture", "att_2", "held", "merchant", 900)
        await write(first, *store.changed([Change(payment(held_minor=900)).moved(capture)], NOW))
    assert await second == payment(collected_minor=900)


async def test_several_payments_are_changed_together(sandbox: Store) -> None:
    await saved(sandbox, Change(payment(1)).moved(hold(1)), Change(payment(2)).moved(hold(2, 300)))
    once = Change(payment(1, held_minor=900)).moved(Movement("sbm_3", "capture", "att_3", "held", "merchant", 200))
    twice = Change(once.payment).moved(Movement("sbm_4", "capture", "att_4", "held", "merchant", 100))
    over = Change(payment(2, held_minor=300, challenged=True)).moved(
        Movement("sbm_5", "void", None, "held", "holder", 300)
    )
    await saved(sandbox, once, over, twice)
    wanted = [("mer_1", "test", f"sbp_{number}") for number in (2, 1, 9)]
    async with transaction(sandbox.pool) as connection:
        found = await store.lock_payments(connection, [*wanted, ("mer_2", "test", "sbp_1")])
        assert await store.lock_payments(connection, []) == {}
    assert found == {
        wanted[1]: payment(1, held_minor=600, collected_minor=300),
        wanted[0]: payment(2, challenged=True, voided=True),
    }


async def test_an_attempt_ends_otherwise_than_it_began(sandbox: Store) -> None:
    asks = SandboxOutcome(status="action_required", reference="sbp_1", ends_at=NOW)
    async with transaction(sandbox.pool) as connection:
        await write(connection, store.new_attempts([attempt(answer=asks)]))
    await saved(sandbox, Change(payment(challenged=True)))
    later = payment(challenged=False, ends_at=NOW + SECOND)
    await saved(sandbox, Change(later).ended("att_1", APPROVED).moved(hold()))
    assert await read(sandbox, "att_1") == [attempt(answer=asks, outcome=APPROVED)]
    assert await locked(sandbox) == replace(later, held_minor=900)


async def test_refunds_that_are_going_to_come_back_are_known_until_they_have(sandbox: Store) -> None:
    failing = payment(token="sandbox_refund_fails_late", capture=True)
    sale = Movement("sbm_1", "sale", "att_1", "holder", "merchant", 900)
    back = [LateRefund(f"att_{number}", f"sbm_{number}", 100 * number, NOW + SECOND / number) for number in (2, 3)]
    async with transaction(sandbox.pool) as connection:
        await write(
            connection, store.new_attempts([attempt(), *(attempt(int(e.attempt_id[-1]), late=e) for e in back)])
        )
    await saved(sandbox, Change(failing).moved(sale))
    assert await locked(sandbox) == replace(failing, collected_minor=900, late=tuple(reversed(back)))
    refused = SandboxOutcome(status="declined", code="refund_failed")
    await saved(sandbox, Change(failing).ended("att_3", refused))
    assert await locked(sandbox) == replace(failing, collected_minor=900, late=(back[0],))
    assert await read(sandbox, "att_3") == [attempt(3, outcome=refused)]


async def test_what_is_due_is_found_the_longest_ago_first(sandbox: Store) -> None:
    for number, ends_at in ((1, NOW), (2, NOW - SECOND), (3, NOW + SECOND)):
        await saved(sandbox, Change(payment(number, ends_at=ends_at)).moved(hold(number)))
    await saved(sandbox, Change(payment(4, ends_at=NOW)))
    assert await store.due(sandbox.pool, MINE, NOW, 10) == ["sbp_2", "sbp_1"]
    assert await store.due(sandbox.pool, MINE, NOW, 1) == ["sbp_2"]
    assert await store.due(sandbox.pool, STRANGER, NOW, 10) == []


async def test_movements_come_in_the_order_of_time_in_pages(sandbox: Store) -> None:
    for number, at in ((1, NOW), (2, NOW - SECOND), (3, NOW)):
        await saved(sandbox, Change(payment(number)).moved(hold(number)), at=at)
    first = await store.movements(sandbox.pool, MINE, None, 2)
    assert [(each.movement_id, each.made_at) for each in first] == [("sbm_2", NOW - SECOND), ("sbm_1", NOW)]
    [last] = await store.movements(sandbox.pool, MINE, (NOW, "sbm_1"), 2)
    about = (last.movement_id, last.kind, last.order_id, last.payment_intent_id, last.attempt_id, last.amount_minor)
    assert about == ("sbm_3", "hold", "ord_1", "pi_1", "att_3", 900)
    assert (last.source, last.target, last.currency) == ("holder", "held", "EUR")
    assert await store.movements(sandbox.pool, STRANGER, None, 2) == []


async def test_movements_of_some_orders_only(sandbox: Store) -> None:
    for number, order_id in ((1, "ord_1"), (2, "ord_2"), (3, "ord_1")):
        await saved(sandbox, Change(payment(number, order_id=order_id)).moved(hold(number)))

    async def found(*order_ids: str, of: Whose = MINE, limit: int = 5) -> list[str]:
        return [each.movement_id for each in await store.movements_of(sandbox.pool, of, order_ids, None, limit)]

    assert await found("ord_1") == ["sbm_1", "sbm_3"]
    assert await found("ord_1", "ord_2", limit=2) == ["sbm_1", "sbm_2"]
    assert [await found("ord_9"), await found("ord_1", of=STRANGER)] == [[], []]
