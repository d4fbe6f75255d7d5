"""Bugs planted into how overdue money goes back, one at a time; see `tests.simulation.bugs`."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from unittest.mock import patch

from services.payments import intents, news
from services.payments.core import resolving, returning
from services.payments.core.intents import answers
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Attempt, Intent
from services.payments.store import unmatched
from services.payments.store.unmatched import Due
from shared.immutable import replace
from tests.simulation.bugs import Bug, plant_into

RETURN_BUGS: dict[str, Bug] = {}
"""By name, which says what is wrong."""
bug = plant_into(RETURN_BUGS)


@bug
def what_has_gone_back_goes_back_again() -> Iterator[None]:
    """Whoever has found it due once finds it again, and nobody looks at what became of it."""
    find, found = unmatched.to_give_back, dict[str, Due]()

    async def again(pool: Any, limit: int) -> list[Due]:
        found.update({each.unmatched_money_id: each for each in await find(pool, limit)})
        return list(found.values())

    with patch.object(unmatched, "to_give_back", again), patch.object(resolving, "_not_open", lambda *_: None):
        yield


@bug
def a_refund_that_got_no_answer_is_made_anew() -> Iterator[None]:
    """With another id, so that the processor takes it for another refund."""
    gave_back = answers.gave_back

    def anew(moves: Moves, attempt: Attempt, answer: Any) -> Attempt | None:
        known = isinstance(answer, answers.Approved | answers.Declined)
        return gave_back(moves, attempt, answer if known else answers.NeverArrived())

    with patch.object(news, "gave_back", anew):
        yield


@bug
def its_order_is_not_told() -> Iterator[None]:
    async def silent(connection: Any, refunds: Sequence[tuple[Any, Attempt]], now: datetime) -> None:
        for _, attempt in refunds:
            asked = attempt.asked
            place = (asked.unmatched_money_id or "", asked.merchant_id, asked.environment)
            locked = await unmatched.lock_item(connection, *place)
            assert locked is not None
            done = locked[0].money.model_copy(update={"status": "returned", "resolved_at": now})
            await unmatched.change_items(connection, [replace(locked[0], money=done)])

    with patch.object(intents, "given_back", silent):
        yield


@bug
def more_goes_back_than_was_too_much() -> Iterator[None]:
    refund = Moves.refund

    def generous(self: Moves, intent: Intent, amount_minor: int, *arguments: Any, **options: Any) -> Intent:
        return refund(self, intent, intent.captured_minor, *arguments, **options)

    with patch.object(Moves, "refund", generous):
        yield


@bug
def what_comes_back_is_never_found_out() -> Iterator[None]:
    """A refund that was approved is taken for done."""

    def done(moves: Moves, intent: Intent, attempt: Attempt, _: Any) -> Attempt:
        moves.change(intent, watching=())
        return replace(attempt, status="ended")

    with patch.object(answers, "_watched", done):
        yield


@bug
def what_comes_back_is_an_item_that_nobody_sees() -> Iterator[None]:
    """Its order is told, and the item stays returned."""
    came_back = returning.came_back

    def unseen(*arguments: Any) -> Any:
        found = came_back(*arguments)
        return found and replace(found, again=None)

    with patch.object(returning, "came_back", unseen):
        yield
