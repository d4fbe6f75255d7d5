"""Payment intents and their attempts: what workers read, lock, claim and save."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.payments import jobs
from services.payments.core.asking import Approved, Asked, Means
from services.payments.core.intents.state import Attempt, Intent, in_order
from services.payments.intents import Intents
from services.payments.store import attempts, intents
from shared.clock import utc_now
from shared.idempotency import IdempotencyKey
from shared.postgres import transaction
from shared.writes import write
from tests.contract.stores.samples import NOW, SECOND
from tests.contract.stores.store import Store, waits
from tests.intents import intent


async def saved(payments: Store, *made: Intent) -> None:
    async with transaction(payments.pool) as connection:
        await write(connection, intents.saved(made))


async def read(payments: Store, *numbers: int) -> list[Intent | None]:
    return await intents.read(payments.pool, [("mer_1", "test", f"pi_{number}") for number in numbers])


def attempt(number: int = 1, **fields: Any) -> Attempt:
    """One that is due."""
    asked = Asked(f"att_{number}", "authorize", 5000, "EUR", Means("card"), "mer_1", "test", "ord_1", "pi_1")
    return replace(Attempt(asked, "sandbox", NOW, NOW, NOW), **fields)


async def attempted(payments: Store, *made: Attempt) -> None:
    """Nobody's, each with an intent that is there."""
    async with transaction(payments.pool) as connection:
        await write(
            connection,
            intents.saved([intent(int(name)) for name in sorted({_intent_of(each) for each in made})]),
            attempts.saved(made, []),
        )


def _intent_of(made: Attempt) -> str:
    return made.asked.payment_intent_id.removeprefix("pi_")


async def claimed(payments: Store, at: Any = NOW, limit: int = 10) -> list[Attempt]:
    found = await attempts.claim(payments.pool, at, limit)
    return sorted((each for each, _ in found), key=lambda each: each.attempt_id)


async def test_an_intent_is_saved_and_saved_again(payments: Store) -> None:
    await saved(payments)
    await saved(payments, intent(1), intent(2, group_id="pi_2"))
    changed = intent(1, step="held", authorized_minor=5000, version=2, authorization_ends_at=NOW, updated_at=NOW)
    await saved(payments, changed)
    assert await read(payments, 1, 2, 3) == [changed, intent(2, group_id="pi_2"), None]


async def test_a_group_is_locked_as_a_whole(payments: Store) -> None:
    await saved(payments, intent(1), intent(2), intent(3, group_id="pi_3"))

    async def lock(*names: str) -> dict[str, Sequence[Intent]]:
        async with transaction(payments.pool) as connection:
            return dict(await intents.lock_groups(connection, names))

    assert await lock("pi_9") == {}
    async with transaction(payments.pool) as first:
        assert await intents.lock_groups(first, ["pi_2"]) == {"pi_1": [intent(1), intent(2)]}
        assert await lock("pi_3") == {"pi_3": [intent(3, group_id="pi_3")]}
        second = asyncio.create_task(lock("pi_1"))
        assert await waits(second)
        await write(first, intents.saved([intent(1, tries=1)]))
    assert await second == {"pi_1": [intent(1, tries=1), intent(2)]}


async def test_holds_whose_time_is_over_are_found_the_longest_ago_first(payments: Store) -> None:
    held: dict[str, Any] = {"step": "held", "authorized_minor": 5000}
    await saved(
        payments,
        intent(1, **held, authorization_ends_at=NOW),
        intent(2, **held, authorization_ends_at=NOW - SECOND),
        intent(3, **held, authorization_ends_at=NOW + SECOND),
        intent(4, **held),
        intent(5, step="calling", authorization_ends_at=NOW),
    )
    async with transaction(payments.pool) as connection:
        assert await intents.run_out(connection, NOW, 10) == ["pi_2", "pi_1"]
        assert await intents.run_out(connection, NOW, 1) == ["pi_2"]


async def test_what_is_due_is_claimed_by_one(payments: Store) -> None:
    await attempted(payments)
    await attempted(
        payments, attempt(1), attempt(2, due_at=NOW + SECOND), attempt(3, status="ended"), attempt(4, status="unknown")
    )
    assert await claimed(payments) == [attempt(1, claims=1), attempt(4, status="unknown", claims=1)]
    assert await claimed(payments) == []
    assert await claimed(payments, NOW + SECOND) == [attempt(2, due_at=NOW + SECOND, claims=1)]


async def test_a_claim_runs_out(payments: Store) -> None:
    await attempted(payments, attempt(1))
    await claimed(payments)
    assert await claimed(payments, NOW + attempts.CLAIMED_FOR - timedelta(milliseconds=1)) == []
    assert await claimed(payments, NOW + attempts.CLAIMED_FOR) == [attempt(1, claims=2)]


async def test_of_two_that_claim_each_gets_others(payments: Store) -> None:
    await attempted(payments, attempt(1), attempt(2, due_at=NOW - SECOND))
    async with transaction(payments.pool) as first:
        [(one, _)] = await attempts.claim(first, NOW, 1)
        [other] = await claimed(payments)
    assert (one.attempt_id, other.attempt_id) == ("att_2", "att_1")


async def test_an_attempt_comes_with_its_intent(payments: Store) -> None:
    await attempted(payments, attempt(1), attempt(2, status="unknown"))
    await saved(payments, intent(1, step="calling", cancel_requested=True))
    found = [*await attempts.claim_unknown(payments.pool, "pi_1", NOW), *await attempts.claim(payments.pool, NOW, 10)]
    asked = intent(1, step="calling", cancel_requested=True)
    assert found == [(attempt(2, status="unknown", claims=1), asked), (attempt(1, claims=1), asked)]


async def test_a_claim_is_renewed_by_whoever_still_has_it(payments: Store) -> None:
    await saved(payments, intent(1))
    await attempted(payments, attempt(1), attempt(2), attempt(3))
    mine = sorted(await claimed(payments), key=lambda each: each.attempt_id)
    answered = replace(mine[2], status="unknown", due_at=NOW + timedelta(days=1))
    await attempted(payments, answered)
    later, lasts = NOW + attempts.CLAIMED_FOR - SECOND, attempts.CLAIMED_FOR
    await attempts.renew(payments.pool, [mine[0], mine[2]], later)
    # The second was not renewed, and is somebody else's now; its first owner cannot have it back.
    assert await claimed(payments, NOW + lasts) == [replace(mine[1], claims=2)]
    await attempts.renew(payments.pool, mine, NOW + lasts)
    assert await claimed(payments, NOW + lasts + lasts - SECOND) == []
    found = await claimed(payments, NOW + lasts + lasts)
    assert sorted(each.attempt_id for each in found) == ["att_1", "att_2"]
    # What was answered meanwhile is nobody's: it is free as soon as it is due.
    assert await claimed(payments, NOW + timedelta(days=1)) != []


async def test_what_is_watched_is_found_when_it_is_due_and_whenever_somebody_asks(payments: Store) -> None:
    watched = attempt(1, status="watched", due_at=NOW + timedelta(days=1))
    await attempted(payments, watched)
    await saved(payments, intent(1, step="ended", watching=("att_1",)))
    assert await claimed(payments) == []
    [(found, its_intent)] = await attempts.claim_unknown(payments.pool, "pi_1", NOW)
    assert (found, its_intent.watching) == (replace(watched, claims=1), ("att_1",))
    assert await claimed(payments, NOW + timedelta(days=1)) == [replace(watched, claims=2)]


async def test_a_new_attempt_that_is_claimed_is_its_makers_for_a_while(payments: Store) -> None:
    mine, anybodys = attempt(1, claims=1), attempt(2)
    async with transaction(payments.pool) as connection:
        await write(connection, intents.saved([intent(1)]), attempts.saved([], [mine, anybodys]))
    assert await claimed(payments) == [replace(anybodys, claims=1)]
    assert await claimed(payments, NOW + attempts.CLAIMED_FOR - timedelta(milliseconds=1)) == []
    again = await claimed(payments, NOW + attempts.CLAIMED_FOR)
    assert again == [replace(mine, claims=2), replace(anybodys, claims=2)]


async def test_an_answer_frees_the_claim_of_its_maker(payments: Store) -> None:
    async with transaction(payments.pool) as connection:
        await write(connection, attempts.saved([], [attempt(1, claims=1)]))
    await attempted(payments, attempt(1, claims=1, status="unknown"))
    assert await claimed(payments) == [attempt(1, status="unknown", claims=2)]


async def test_an_answer_frees_the_claim(payments: Store) -> None:
    await attempted(payments, attempt(1))
    [mine] = await claimed(payments)
    later = NOW + SECOND
    answer = Approved("psp-1", 5000, captured=True, last4="4242", ends_at=later)
    await attempted(payments, replace(mine, status="unknown", answer=answer, looks=1, due_at=later, updated_at=later))
    [again] = await claimed(payments, later)
    assert again == attempt(1, status="unknown", answer=answer, looks=1, due_at=later, updated_at=later, claims=2)


async def test_what_is_under_way_is_measured(payments: Store) -> None:
    later = NOW + SECOND
    await saved(
        payments,
        intent(1),
        intent(2, step="finding_out", status_since=later),
        intent(3, step="finding_out", status_since=NOW),
        intent(4, step="ended", end="succeeded", unanswered=("pi_4.fact.2",), status_since=NOW),
    )
    rows = await payments.pool.fetch(jobs._INTENTS_UNDER_WAY)
    assert sorted(tuple(dict(row).values()) for row in rows) == [("succeeded", 1, NOW), ("unknown", 2, NOW)]


async def test_refunds_of_which_nothing_is_known_are_measured(payments: Store) -> None:
    async def measured() -> Any:
        [row] = await payments.pool.fetch(jobs._REFUNDS_UNKNOWN)
        return row["refunds"], row["oldest"]

    assert await measured() == (0, None)

    def refund(number: int, **fields: Any) -> Attempt:
        made = attempt(number, **fields)
        return replace(made, asked=replace(made.asked, operation="refund"))

    await attempted(
        payments,
        refund(1, status="unknown", created_at=NOW + SECOND),
        refund(2, status="unknown"),
        refund(3, status="watched"),
        refund(4, status="ended"),
        attempt(5, status="unknown"),
    )
    assert await measured() == (2, NOW)


async def test_commands_for_intents_without_a_reply_are_counted_after_a_minute(payments: Store) -> None:
    waiting: dict[str, Any] = {"unanswered": ("pi_1.fact.2",), "updated_at": NOW}
    await saved(
        payments,
        intent(1, step="ended", end="succeeded", **waiting),
        intent(2, step="leasing", **waiting),
        intent(3, step="calling", **waiting | {"unanswered": ()}),
        intent(4, step="leasing", **waiting | {"updated_at": NOW + SECOND}),
    )
    minute = timedelta(minutes=1)
    counted = [await payments.pool.fetchval(jobs._UNANSWERED, NOW + after) for after in (minute, minute + SECOND)]
    assert counted == [0, 2]


async def test_money_that_orders_were_not_told_of_for_long_is_counted(payments: Store) -> None:
    now = utc_now()
    late: dict[str, Any] = {"unanswered": ("pi_1.fact.2",), "updated_at": now - timedelta(minutes=11)}
    await saved(
        payments,
        intent(1, step="ended", end="succeeded", **late),
        intent(2, step="ended", end="succeeded", **late | {"updated_at": now}),
        intent(3, step="leasing", **late),
        intent(4, step="held", **late | {"unanswered": ()}),
    )
    assert await payments.pool.fetchval(jobs.INVARIANTS["money_is_told_to_orders"]) == 1


async def test_an_intent_is_read_by_its_tenant_only(payments: Store) -> None:
    await saved(payments, intent(1))
    mine = ("mer_1", "test", "pi_1")
    names = [mine, ("mer_1", "live", "pi_1"), ("mer_2", "test", "pi_1"), ("mer_1", "test", "pi_2"), mine]
    assert await intents.read(payments.pool, names) == [intent(1), None, None, None, intent(1)]


async def test_a_group_is_read_by_its_tenant_only(payments: Store) -> None:
    await saved(payments, intent(1), intent(2), intent(3, group_id="pi_3"))
    found = await intents.read_group(payments.pool, "mer_1", "test", "pi_1")
    assert sorted(each.payment_intent_id for each in found) == ["pi_1", "pi_2"]
    assert await intents.read_group(payments.pool, "mer_2", "test", "pi_1") == []


async def test_a_group_has_settled_when_all_of_it_has(payments: Store) -> None:
    await saved(payments, intent(1), intent(2, step="calling"), intent(3, group_id="pi_3"))
    alone, held = intent(3, group_id="pi_3"), intent(2, step="held")
    assert await intents.settled(payments.pool, ["pi_1", "pi_3", "pi_9"]) == {"pi_3": [alone]}
    await saved(payments, held)
    found = await intents.settled(payments.pool, ["pi_1", "pi_3", "pi_1"])
    assert {group: in_order(each) for group, each in found.items()} == {"pi_1": (intent(1), held), "pi_3": (alone,)}


async def test_what_an_intent_waits_to_know_is_claimed_at_once(payments: Store) -> None:
    later, other = NOW + SECOND, attempt(4, status="unknown")
    other = replace(other, asked=replace(other.asked, payment_intent_id="pi_2"))
    await attempted(payments, attempt(1), attempt(2, status="unknown", due_at=later), attempt(3, status="ended"), other)

    async def ask(at: Any) -> list[str]:
        return [each.attempt_id for each, _ in await attempts.claim_unknown(payments.pool, "pi_1", at)]

    assert await ask(NOW) == ["att_2"]
    assert await ask(later) == []
    assert await claimed(payments, NOW) == [attempt(1, claims=1), replace(other, claims=1)]
    assert await ask(NOW + attempts.CLAIMED_FOR) == ["att_2"]


async def test_the_answers_of_repeats_that_waited_together_are_one(payments: Store) -> None:
    key = IdempotencyKey("mer_1:test", "key_1", b"fingerprint")
    kept = Intents(payments.pool, lambda: NOW, lambda: None, lambda: None)
    assert await kept.remember([(key, 200, b"first"), (key, 200, b"second")]) == [None, None]
    [row] = await payments.rows("idempotency_keys")
    assert (row["key"], row["status"]) == ("key_1", 200)
