"""How a request becomes a command, and a command's outcome an answer."""

import re
from collections.abc import Callable
from typing import Any

from services.orders.core.state import Order
from services.orders.core.view import order_view
from shared.auth.guard import ApiRequest
from shared.batcher import Batcher
from shared.clock import Clock
from shared.contracts.order_commands import OrderCommand
from shared.http.answers import Answer, one_bytes, replayed, stored
from shared.http.problems import Problem, not_found
from shared.http.request_ids import request_id_of
from shared.idempotency import Claim, InProgress, Reused, StoredResponse, idempotency_key, problem_for
from shared.ids import new_id
from shared.processor import Done, Incoming, Outcome
from shared.telemetry import current_traceparent

SOURCE = "/services/orders/http"
PROBLEM_JSON = "application/problem+json"

_ORDER_ID = re.compile(r"ord_[A-Za-z0-9_-]{1,64}")

Show = Callable[[Order], dict[str, Any]]
"""What is answered of the order after the command."""


class Writes:
    """Hands commands of HTTP requests to the write path, many requests in one transaction."""

    def __init__(self, batcher: Batcher[Incoming[OrderCommand], Done[Order] | Claim], clock: Clock) -> None:
        self._batcher, self._clock = batcher, clock

    async def run(
        self,
        request: ApiRequest,
        order_id: str,
        command: OrderCommand,
        *,
        status: int = 200,
        expected_version: int | None = None,
        show: Show | None = None,
    ) -> Answer:
        """Run one command for the caller and answer with the order after it, or the problem that it was refused with.

        With an `Idempotency-Key` the answer is kept with the effect and given again.
        """
        if not _ORDER_ID.fullmatch(order_id):
            raise not_found("There is no such order.")
        access = request.user

        def answer(outcome: Outcome, order: Order | None) -> tuple[int, bytes]:
            if outcome.code is not None:
                problem = refusal_problem(outcome, order)
                return problem.status, problem.body(request.url.path, request_id_of(request.scope))
            assert order is not None, "an accepted command leaves an order"
            shown = show(order) if show else order_view(order, self._clock())
            return status, one_bytes(request, shown)

        incoming = Incoming(
            command_id=new_id("cmd"),
            key=order_id,
            command=command,
            merchant_id=access.merchant,
            environment=access.environment,
            actor=access.actor,
            source=SOURCE,
            channel="api",
            expected_version=expected_version,
            correlation_id=request_id_of(request.scope),
            traceparent=current_traceparent(),
            wants_reply=False,
            idempotency=await idempotency_key(request, access),
            answer=answer,
        )
        return _answered(await self._batcher.submit(incoming))


def _answered(result: Done[Order] | Claim) -> Answer:
    match result:
        case Done(answer=(status, body)):
            return _with_media_type(stored(status, body))
        case StoredResponse(status=status, body=body):
            return _with_media_type(replayed(status, body))
        case InProgress() | Reused():
            raise problem_for(result)
        case _:
            raise AssertionError("a command from HTTP has an answer")


def _with_media_type(answer: Answer) -> Answer:
    if answer.status_code is not None and answer.status_code >= 400:
        answer.media_type = PROBLEM_JSON
    return answer


def refusal_problem(outcome: Outcome, order: Order | None) -> Problem:
    """The order's no, as HTTP says it: amounts among the facts become money."""
    assert outcome.code is not None, "only a refused command has a problem"
    if outcome.code == "NOT_FOUND":
        return not_found(outcome.detail)
    facts = dict(_fact(name, value, order) for name, value in outcome.facts.items() if name != "status")
    return Problem(outcome.code, outcome.detail, param=outcome.param, blockers=outcome.blockers, facts=facts)


def _fact(name: str, value: Any, order: Order | None) -> tuple[str, Any]:
    if order is None or not name.endswith("_minor"):
        return name, value
    return name.removesuffix("minor") + "money", {"amount": value, "currency": order.currency}
