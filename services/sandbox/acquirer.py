"""The acquirer itself, behind its HTTP routes and for whoever runs in the same process."""

import asyncio
import base64
import hmac
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from services.sandbox import store
from services.sandbox.core.payment import Payment
from services.sandbox.core.rules import CANCELED, answer_challenge, settled
from services.sandbox.processing import Processed, Result, process
from services.sandbox.store import Attempt
from shared.batcher import Batcher
from shared.clock import Clock
from shared.contracts.model import Reference
from shared.contracts.sandbox import (
    MovementPage,
    SandboxLookUp,
    SandboxOutcome,
    SandboxRequest,
    Whose,
)
from shared.faults import OutcomeUnknown
from shared.http.pages import LARGEST_PAGE, ListQuery, QueryTime, TimePosition, page_by_time
from shared.ids import new_id
from shared.postgres import Connection, Pool, transaction
from shared.writes import Mismatch, write

Sleep = Callable[[float], Awaitable[None]]

CHALLENGE_PATH = "/sandbox/challenge/"
SLOW_S = 5.0
_SETTLED_AT_ONCE = 100


class MovementQuery(ListQuery):
    """Whose movements."""

    merchant_id: Reference
    environment: Literal["test"]
    made_from: QueryTime | None = None
    """The earliest `made_at`."""
    order_ids: Annotated[str, Field(max_length=20_000)] | None = None
    """Only of these orders, with commas between."""

    def time_position(self) -> TimePosition | None:
        """Where the page starts; the first one at `made_from`."""
        first = None if self.made_from is None else (self.made_from, "")
        return super().time_position() or first

    @property
    def orders(self) -> list[str] | None:
        return None if self.order_ids is None else self.order_ids.split(",")


class SandboxAcquirer:
    """Keeps one answer for each attempt, for ever, and moves money once. See `shared.contracts.sandbox.Acquirer`.

    Challenges are signed with `secret`.
    """

    def __init__(
        self, pool: Pool, clock: Clock, secret: SecretStr, base_url: str, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.pool = pool
        self._clock, self._secret, self._base_url, self._sleep = clock, secret, base_url, sleep
        self._requests: Batcher[SandboxRequest, Result] = Batcher(partial(process, pool, clock), concurrent=1)

    async def ask(self, request: SandboxRequest) -> SandboxOutcome:
        """Do it, once; raises `OutcomeUnknown` where the request or its answer gets lost."""
        processed = await self._process(request)
        match processed.fault:
            case "duplicate_reply":
                # The request comes in by two ways: there is one effect, and both get the same answer.
                processed = await self._process(request)
            case "slow":
                await self._sleep(SLOW_S)
            case "lost_reply":
                raise OutcomeUnknown("the answer got lost")
        return self._with_url(processed.answer)

    async def look_up(self, wanted: SandboxLookUp) -> SandboxOutcome:
        """What became of an attempt; one that was never seen is closed."""
        named = wanted.merchant_id, wanted.environment, wanted.attempt_id
        async with transaction(self.pool) as connection:
            attempt = (await store.read_attempts(connection, [named])).get(named)
            if attempt is None:
                with suppress(Mismatch):
                    await write(connection, store.new_attempts([Attempt(*named, None, CANCELED)]))
                    return SandboxOutcome(status="never_arrived")
            elif attempt.payment_id is not None:
                await self._settle(connection, wanted, attempt.payment_id)
            attempt = (await store.read_attempts(connection, [named]))[named]
        if attempt.request_hash is None:
            return SandboxOutcome(status="never_arrived")
        return self._with_url(attempt.outcome or attempt.answer)

    async def movements(
        self,
        whose: Whose,
        page_token: str | None = None,
        *,
        made_from: datetime | None = None,
        order_ids: Sequence[str] = (),
    ) -> MovementPage:
        """A page of the ledger, oldest first, with all that is due by now."""
        return await self.movements_of(
            MovementQuery(
                merchant_id=whose.merchant_id,
                environment=whose.environment,
                page_size=LARGEST_PAGE,
                page_token=page_token,
                made_from=made_from,
                order_ids=",".join(order_ids) or None,
            )
        )

    async def movements_of(self, query: MovementQuery) -> MovementPage:
        """The page that a query asks for."""
        whose = Whose(merchant_id=query.merchant_id, environment=query.environment)
        after = query.time_position()
        while due := await store.due(self.pool, whose, self._clock(), _SETTLED_AT_ONCE):
            for payment_id in due:
                async with transaction(self.pool) as connection:
                    await self._settle(connection, whose, payment_id)
        if query.orders is None:
            found = await store.movements(self.pool, whose, after, query.page_size + 1)
        else:
            found = await store.movements_of(self.pool, whose, query.orders, after, query.page_size + 1)
        page, token = page_by_time(found, query, lambda movement: (movement.made_at, movement.movement_id))
        return MovementPage(movements=tuple(page), next_page_token=token)

    async def challenge(self, secret: str) -> Payment | None:
        """The payment whose buyer is shown this page; `challenged` while there is something to answer."""
        found = await self._owner(secret)
        if found is None:
            return None
        async with transaction(self.pool) as connection:
            return await self._settle(connection, *found)

    async def answer_challenge(self, secret: str, *, approves: bool) -> Payment | None:
        """The buyer pressed a button. One that was answered, canceled or has run out stays as it was."""
        found = await self._owner(secret)
        if found is None:
            return None
        async with transaction(self.pool) as connection:
            payment = await _locked(connection, *found)
            assert payment is not None, "a payment is there for ever"
            now = self._clock()
            change = answer_challenge(payment, approves, new_id("sbm"), now)
            await write(connection, *store.changed([change], now))
        return change.payment

    async def _process(self, request: SandboxRequest) -> Processed:
        processed = await self._requests.submit(request)
        if not isinstance(processed, Processed):
            raise processed
        return processed

    async def _settle(self, connection: Connection, whose: Whose, payment_id: str) -> Payment | None:
        """The payment after all that is due by now."""
        payment, now = await _locked(connection, whose, payment_id), self._clock()
        if payment is None or payment.due_at is None or payment.due_at > now:
            return payment
        change = settled(payment, now)
        await write(connection, *store.changed([change], now))
        return change.payment

    async def _owner(self, secret: str) -> tuple[Whose, str] | None:
        payment_id = secret.partition(".")[0]
        if not hmac.compare_digest(self._challenge_secret(payment_id).encode(), secret.encode()):
            return None
        whose = await store.find_owner(self.pool, payment_id)
        return None if whose is None else (whose, payment_id)

    def _with_url(self, outcome: SandboxOutcome) -> SandboxOutcome:
        """The challenge's address is made anew each time, so that no table holds it."""
        if outcome.status != "action_required":
            return outcome
        secret = self._challenge_secret(str(outcome.reference))
        return outcome.model_copy(update={"url": f"{self._base_url}{CHALLENGE_PATH}{secret}"})

    def _challenge_secret(self, payment_id: str) -> str:
        key = self._secret.get_secret_value().encode()
        signature = hmac.digest(key, b"challenge\0" + payment_id.encode(), "sha256")
        return f"{payment_id}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def _locked(connection: Connection, whose: Whose, payment_id: str) -> Payment | None:
    named = whose.merchant_id, whose.environment, payment_id
    return (await store.lock_payments(connection, [named])).get(named)
