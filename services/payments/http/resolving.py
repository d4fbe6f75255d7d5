"""Running what somebody decides about an item: claimed at once, answered when the order has, or with 202 before."""

import orjson

from services.payments import resolving
from services.payments.core.resolving import Decision, Denied, GiveBack, Wish
from services.payments.core.state import Item
from services.payments.http.models import DecisionRequest, MoneyDecisionRequest
from services.payments.http.wiring import Wiring
from services.payments.resolving import Place
from services.payments.store import unmatched
from shared import idempotency
from shared.auth.guard import ApiRequest
from shared.contracts.model import PositiveMoney
from shared.http.answers import REPLAYED_HEADER, Answer, one_bytes, stored
from shared.http.problem_codes import CODES
from shared.http.problems import Problem, not_found
from shared.http.requests import wait_s
from shared.idempotency import idempotency_key, run_idempotent
from shared.postgres import Connection, transaction

_ASKED = ("attaching", "returning")


def place_of(request: ApiRequest, unmatched_money_id: str) -> Place:
    """The item as the caller's."""
    return Place(unmatched_money_id, request.user.merchant, request.user.environment)


async def own_item(wiring: Wiring, place: Place) -> Item:
    """The item; another tenant's is not found."""
    item = await unmatched.read_item(wiring.pool, place.unmatched_money_id, place.merchant_id, place.environment)
    if item is None:
        raise _unknown()
    return item


async def resolve(
    request: ApiRequest, wiring: Wiring, unmatched_money_id: str, body: DecisionRequest, decision: Decision
) -> Answer:
    """What is decided is saved with the answer 202 where an order is asked; its repeat waits again for what it says."""
    key, now = await idempotency_key(request, request.user), wiring.clock()
    place, wish = place_of(request, unmatched_money_id), _wish_in(request, body)

    async def effect(connection: Connection) -> tuple[int, bytes]:
        item = _decided(await resolving.resolve(connection, place, wish, decision, now))
        return 202 if item.money.status in _ASKED else 200, one_bytes(request, item.money)

    first = await run_idempotent(wiring.pool, key, now, effect)
    wiring.committed()
    if first.status_code != 202 or not await wiring.outcomes.wait(place.unmatched_money_id, wait_s(request)):
        return first
    item = await own_item(wiring, place)
    steps = 2 if isinstance(decision, GiveBack) and item.money.refusal is None else 1
    if item.money.version != orjson.loads(first.content)["data"]["version"] + steps:
        # There is an answer, and somebody has decided anew since.
        return first
    if item.money.refusal is not None:
        raise _refused(item.money.refusal)
    told = one_bytes(request, item.money)
    if key is not None:
        async with transaction(wiring.pool) as connection:
            await idempotency.remember(connection, [(key, 200, told)], now)
    replayed = REPLAYED_HEADER in first.headers
    return stored(200, told, {REPLAYED_HEADER: "true"} if replayed else None)


def _wish_in(request: ApiRequest, body: DecisionRequest) -> Wish:
    part = body.amount_money if isinstance(body, MoneyDecisionRequest) else None
    money = None if part is None else PositiveMoney(amount=part.amount, currency=part.currency)
    return Wish(request.user.actor, money, body.expected_version, body.note)


def _decided(outcome: Item | Denied | None) -> Item:
    match outcome:
        case None:
            raise _unknown()
        case Denied(code=code, detail=detail, param=param, current_version=version):
            raise Problem(code, detail, param=param, facts={} if version is None else {"current_version": version})
        case Item():
            return outcome


def _refused(code: str) -> Problem:
    """As the order said it."""
    known = code if code in CODES else "UNMATCHED_MONEY_NOT_MOVABLE"
    return Problem(known, f"The order did not take it ({code}); the item is open again.")


def _unknown() -> Problem:
    return not_found("There is no such unmatched item.")
