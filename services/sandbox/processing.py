"""Requests to the acquirer, many in one transaction: an attempt has one answer for ever, and moves money once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from services.sandbox import store
from services.sandbox.core.payment import Change, Payment
from services.sandbox.core.rules import UNKNOWN_PAYMENT, Decision, authorize, change_payment, settled
from services.sandbox.core.tokens import Fault, fault_of
from services.sandbox.store import Attempt, Named
from shared.clock import Clock
from shared.contracts.sandbox import SandboxOutcome, SandboxRequest
from shared.faults import OutcomeUnknown, Poison
from shared.ids import new_id
from shared.immutable import immutable
from shared.postgres import Pool, transaction
from shared.writes import Mismatch, write


@immutable
class Processed:
    """An answer, and what goes wrong with it: only the first one, repeats are answered well."""

    answer: SandboxOutcome
    fault: Fault | None = None


Result = Processed | OutcomeUnknown | Poison
"""What is no answer is for whoever asked to raise."""


async def process(pool: Pool, clock: Clock, requests: Sequence[SandboxRequest]) -> list[Result]:
    """What becomes of each, in their order; each sees what those before it did."""
    while True:
        try:
            return await _process(pool, clock, requests)
        except Mismatch:
            # Somebody else has taken an id while it was decided about. By then it is known, for ever: each id is met
            # like this once at most.
            continue


async def _process(pool: Pool, clock: Clock, requests: Sequence[SandboxRequest]) -> list[Result]:
    async with transaction(pool) as connection:
        # Payments are locked first, so that of several requests with one id the first is seen by the others.
        changed = {_payment_of(request) for request in requests if request.operation != "authorize"}
        payments = await store.lock_payments(connection, changed)
        known = await store.read_attempts(connection, {_named(request) for request in requests})
        now = clock()
        book = _Book(payments, known)
        results = [book.take(request, now) for request in requests]
        await write(connection, store.new_attempts(book.attempts), *store.changed(book.changes, now))
    return results


class _Book:
    """What is known to a transaction, and what follows in it."""

    def __init__(self, payments: Mapping[Named, Payment], known: Mapping[Named, Attempt]) -> None:
        self._payments, self._known = dict(payments), dict(known)
        self.attempts: list[Attempt] = []
        self.changes: list[Change] = []

    def take(self, request: SandboxRequest, now: datetime) -> Result:
        """Its first answer, for the same request; an id that was closed has one for all."""
        digest = sha256(request.model_dump_json().encode()).hexdigest()
        known = self._known.get(_named(request))
        if known is not None:
            if known.request_hash not in (None, digest):
                return Poison("idempotency_key_reused", "This attempt_id belongs to another request.")
            return Processed(known.answer)
        payment = None if request.operation == "authorize" else self._payments.get(_payment_of(request))
        fault = _fault(request, payment)
        if fault == "lost_request":
            return OutcomeUnknown("the request got lost")
        decision = _decide(request, payment, now)
        self._keep(request, digest, decision)
        return Processed(decision.answer, fault)

    def _keep(self, request: SandboxRequest, digest: str, decision: Decision) -> None:
        change = decision.change
        payment_id = change.payment.payment_id if change else None
        attempt = Attempt(*_named(request), digest, decision.answer, payment_id, late=decision.late)
        self._known[attempt.named] = attempt
        self.attempts.append(attempt)
        if change is not None:
            self._payments[request.merchant_id, request.environment, change.payment.payment_id] = change.payment
            self.changes.append(change)


def _decide(request: SandboxRequest, payment: Payment | None, now: datetime) -> Decision:
    if request.operation == "authorize":
        return authorize(request, new_id("sbp"), new_id("sbm"), now)
    if payment is None:
        return Decision(UNKNOWN_PAYMENT)
    return change_payment(settled(payment, now), request, new_id("sbm"), now)


def _fault(request: SandboxRequest, payment: Payment | None) -> Fault | None:
    token = request.token if request.operation == "authorize" else payment.token if payment else None
    return None if token is None else fault_of(token, request.operation)


def _named(request: SandboxRequest) -> Named:
    return request.merchant_id, request.environment, request.attempt_id


def _payment_of(request: SandboxRequest) -> Named:
    return request.merchant_id, request.environment, request.reference or ""
