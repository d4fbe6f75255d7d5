"""The simulated acquirer as a connector: its words translated, wherever it runs."""

import asyncio
from collections.abc import Awaitable

from services.payments.connectors.sandbox_http import NotReached
from services.payments.core.asking import (
    ActionRequired,
    Answer,
    Approved,
    Asked,
    Declined,
    Found,
    Means,
    NeverArrived,
    NotSent,
    Unknown,
)
from shared.contracts.sandbox import TOKENS, Acquirer, SandboxLookUp, SandboxOutcome, SandboxRequest
from shared.faults import OutcomeUnknown, Poison, Transient

TIME_LIMIT_S = 10.0
_NO_LIVE_MONEY = Declined("live_not_supported", "The sandbox moves no live money.")


class SandboxConnector:
    """Asks the acquirer; what it says of nothing clear is `Unknown`."""

    name = "sandbox"

    def __init__(self, acquirer: Acquirer, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._acquirer, self._time_limit_s = acquirer, time_limit_s

    def objection(self, means: Means) -> str | None:
        """It knows test tokens only."""
        if means.token in TOKENS:
            return None
        return "Test environments take the sandbox's tokens only, such as sandbox_approve."

    async def authorize(self, asked: Asked) -> Answer:
        """As the token says."""
        return await self._ask(asked)

    async def capture(self, asked: Asked) -> Answer:
        """Never more than is held."""
        return await self._ask(asked)

    async def void(self, asked: Asked) -> Answer:
        """Also of a challenge, which is then over; with an amount of 0, of all that is left."""
        return await self._ask(asked)

    async def refund(self, asked: Asked) -> Answer:
        """Never more than was captured."""
        return await self._ask(asked)

    async def look_up(self, asked: Asked) -> Found:
        """The acquirer promises that what it has not seen by now it will never do."""
        if asked.environment != "test":
            return _NO_LIVE_MONEY
        wanted = SandboxLookUp(merchant_id=asked.merchant_id, environment="test", attempt_id=asked.attempt_id)
        found = await self._answer(self._acquirer.look_up(wanted))
        if isinstance(found, SandboxOutcome):
            return NeverArrived() if found.status == "never_arrived" else _translated(found)
        return found

    async def _ask(self, asked: Asked) -> Answer:
        if asked.environment != "test":
            return _NO_LIVE_MONEY
        outcome = await self._answer(self._acquirer.ask(_request(asked)))
        return _translated(outcome) if isinstance(outcome, SandboxOutcome) else outcome

    async def _answer(self, answer: Awaitable[SandboxOutcome]) -> SandboxOutcome | NotSent | Unknown:
        try:
            async with asyncio.timeout(self._time_limit_s):
                return await answer
        except NotReached as reason:
            return NotSent(str(reason))
        except (OutcomeUnknown, Transient, Poison) as reason:
            return Unknown(str(reason))
        except TimeoutError:
            return Unknown(f"no answer within {self._time_limit_s:g} s")


def _request(asked: Asked) -> SandboxRequest:
    authorizes = asked.operation == "authorize"
    return SandboxRequest.model_validate(
        {
            "merchant_id": asked.merchant_id,
            "environment": asked.environment,
            "attempt_id": asked.attempt_id,
            "operation": asked.operation,
            "amount_minor": asked.amount_minor,
            "currency": asked.currency,
            "token": asked.means.token if authorizes else None,
            "capture": asked.capture,
            "partial": asked.partial,
            "reference": asked.reference,
            "return_url": asked.return_url,
            "order_id": asked.order_id,
            "payment_intent_id": asked.payment_intent_id,
        }
    )


def _translated(outcome: SandboxOutcome) -> Answer:
    match outcome:
        case SandboxOutcome(status="approved", reference=str(reference)):
            return Approved(
                reference,
                outcome.amount_minor,
                captured=outcome.captured,
                brand=outcome.brand,
                last4=outcome.last4,
                ends_at=outcome.ends_at,
            )
        case SandboxOutcome(status="declined", code=str(code)):
            return Declined(code, outcome.message or code)
        case SandboxOutcome(status="action_required", reference=str(reference), url=str(url)) if outcome.ends_at:
            return ActionRequired(reference, url, outcome.ends_at)
        case _:
            return Unknown(f"an answer that says too little: {outcome.status}")
