"""How a request becomes intents, is waited for, and is answered."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

from services.payments.core.asking import Means
from services.payments.core.intents.state import Intent, Refused, in_order
from services.payments.core.intents.view import shown
from services.payments.core.state import KnownOrder
from services.payments.http.wiring import Wiring
from services.payments.intents import Granted, Missing, Result, Wanted, Wish
from services.payments.store import intents
from services.payments.store.orders import Place
from shared.auth.guard import ApiRequest
from shared.contracts.payment_intents import IntentRefusal
from shared.http.answers import REPLAYED_HEADER, Answer, one_bytes, replayed, stored
from shared.http.problem_codes import CODES
from shared.http.problems import Problem, not_found
from shared.http.requests import wait_s
from shared.idempotency import IdempotencyKey, InProgress, Reused, StoredResponse, idempotency_key, problem_for

_LOOK_UP_S = 5.0
"""For so long a request waits for a processor to say what became of an attempt."""

Show = Callable[[Sequence[Intent]], BaseModel]


@dataclass(frozen=True, slots=True)
class Shape:
    """What an answer says of a group of intents, and with which status once nothing is under way any more."""

    show: Show
    status: int = 200


def one_of(payment_intent_id: str) -> Show:
    """The answer is this intent."""

    def show(group: Sequence[Intent]) -> BaseModel:
        return shown(next(intent for intent in group if intent.payment_intent_id == payment_intent_id))

    return show


def the_only_one(group: Sequence[Intent]) -> BaseModel:
    """The answer is the intent that was made, by this request or by the one that it repeats."""
    [intent] = group
    return shown(intent)


async def order_for(request: ApiRequest, wiring: Wiring, order_id: str) -> KnownOrder:
    """The caller's order; another tenant's is not found. One that was just made is waited for a little."""
    order = await wiring.orders.find(Place(request.user.merchant, request.user.environment, order_id))
    if order is None:
        raise not_found("There is no such order.")
    return order


def connector_for(wiring: Wiring, means: Means, environment: str, param: str) -> str:
    """Who takes it; a problem that names the field where nobody does."""
    connector = wiring.connectors.taking(means.type, environment)
    if connector is None:
        detail = f"No processor is connected that takes {means.type} in the {environment} environment."
        raise Problem("VALIDATION_FAILED", detail, param=f"{param}.type")
    objection = connector.objection(means)
    if objection is not None:
        raise Problem("VALIDATION_FAILED", objection, param=param)
    return connector.name


async def collect(
    request: ApiRequest,
    wiring: Wiring,
    wish: Wish,
    shape: Shape,
    *,
    payment_intent_id: str | None = None,
    made: Sequence[Intent] = (),
) -> Answer:
    """Saved with the answer 202 first, where something is under way; a repeat waits again for what became of it."""
    key, access = await idempotency_key(request, request.user), request.user

    def tell(group: Sequence[Intent]) -> tuple[int, bytes]:
        settled = all(intent.settled for intent in group)
        return shape.status if settled else 202, _body(request, shape, group)

    wanted = Wanted(access.merchant, access.environment, wish, tell, payment_intent_id, tuple(made), key)
    result = await wiring.intents.submit(wanted)
    if isinstance(result, Granted):
        if result.status != 202:
            return stored(result.status, result.body)
        return await _waited(request, wiring, shape, result.intents, key, again=False)
    if isinstance(result, StoredResponse) and result.status == 202:
        group = await _asked_about_again(request, wiring, result.body)
        return await _waited(request, wiring, shape, group, key, again=True)
    return _answered(result)


async def look_up(wiring: Wiring, intent: Intent, within_s: float = _LOOK_UP_S, *, refunds: bool = False) -> None:
    """Where nobody knows what became of it, its processor is asked now; an answer that takes long is not waited for.
    With `refunds`, also what became of those, and whether any of them came back."""
    if intent.step in ("finding_out", "challenged") or (refunds and (intent.refunding or intent.watching)):
        asking = asyncio.create_task(wiring.runner.look_up(intent.payment_intent_id), name="look up")
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.shield(asking)


async def own_intent(request: ApiRequest, wiring: Wiring, payment_intent_id: str) -> Intent:
    """The caller's intent; another tenant's is not found."""
    access = request.user
    intent = await wiring.reads.submit((access.merchant, access.environment, payment_intent_id))
    if intent is None:
        raise _unknown()
    return intent


async def _waited(
    request: ApiRequest,
    wiring: Wiring,
    shape: Shape,
    group: Sequence[Intent],
    key: IdempotencyKey | None,
    *,
    again: bool,
) -> Answer:
    access, group_id = request.user, group[0].group_id
    headers = {REPLAYED_HEADER: "true"} if again else None
    since = _age(group)
    settled = await wiring.groups.wait(
        group_id, wait_s(request), lambda found: _age(found) >= since, just_begun=not again
    )
    if settled is None:
        unsettled = await intents.read_group(wiring.pool, access.merchant, access.environment, group_id)
        return stored(202, _body(request, shape, unsettled), headers)
    after = in_order(settled)
    refusal = _refusal(after)
    if refusal is not None:
        raise _problem(refusal, after[0])
    body = _body(request, shape, after)
    if key is not None:
        await wiring.answers.submit((key, shape.status, body))
    return stored(shape.status, body, headers)


async def _asked_about_again(request: ApiRequest, wiring: Wiring, body: bytes) -> Sequence[Intent]:
    """The group of an earlier answer; what became of its attempts is looked up, as when it is read."""
    data: dict[str, Any] = orjson.loads(body)["data"]
    named = data if "payment_intent_id" in data else data["payment_intents"][0]
    first = await own_intent(request, wiring, named["payment_intent_id"])
    group = await intents.read_group(wiring.pool, first.merchant_id, first.environment, first.group_id)
    within_s = min(_LOOK_UP_S, wait_s(request))
    await asyncio.gather(*(look_up(wiring, intent, within_s) for intent in group))
    return group


def _answered(result: Result) -> Answer:
    match result:
        case StoredResponse(status=status, body=body):
            return replayed(status, body)
        case Missing():
            raise _unknown()
        case Refused(code=code, detail=detail, param=param):
            raise Problem(code, detail, param=param)
        case InProgress() | Reused():
            raise problem_for(result)
        case _:
            raise AssertionError("a wish has an answer")


def _age(group: Sequence[Intent]) -> int:
    """It grows with every change: what is told of a group may be from before this request changed it."""
    return sum(intent.version for intent in group)


def _refusal(group: Sequence[Intent]) -> IntentRefusal | None:
    """The order's no, where nothing was collected because of it."""
    if any(intent.captured_minor or intent.authorized_minor or intent.last_decline for intent in group):
        return None
    return next((intent.last_refusal for intent in group if intent.last_refusal and intent.step != "challenged"), None)


def _problem(refusal: IntentRefusal, intent: Intent) -> Problem:
    """As the order said it."""
    money = {"outstanding_money": refusal.outstanding_money, "available_money": refusal.available_money}
    facts: dict[str, object] = {name: each.model_dump() for name, each in money.items() if each is not None}
    code = refusal.code if refusal.code in CODES else "INTENT_NOT_IN_STATE"
    return Problem(
        code, refusal.detail, blockers=refusal.blockers, facts={"payment_intent_id": intent.payment_intent_id} | facts
    )


def _body(request: ApiRequest, shape: Shape, group: Sequence[Intent]) -> bytes:
    return one_bytes(request, shape.show(in_order(group)))


def _unknown() -> Problem:
    return not_found("There is no such payment intent.")
