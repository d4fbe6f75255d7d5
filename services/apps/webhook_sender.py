"""The sender takes what is due, sends it, and saves what came of it, in turns of many deliveries each.

Any number of processes may send: a delivery is claimed, and the claim renewed while its request is under way, so that
nobody else begins it meanwhile; what a process leaves behind goes on in another as soon as the claim has ended.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

import structlog
from prometheus_client import Counter as Count
from prometheus_client import Gauge, Histogram
from yarl import URL

from services.apps.core.event_types import Reader
from services.apps.core.events import PublicEvent
from services.apps.core.webhooks import (
    Attempt,
    DisabledReason,
    Fate,
    NotSent,
    disabled_by,
    error_of,
    fate_of,
    health_after,
)
from services.apps.store import events, sending
from services.apps.store.sending import Claimed, Outcome, Room
from services.apps.webhook_flow import Flow, Width
from services.apps.webhook_signing import WebhookSigner
from services.apps.webhooks import disable
from shared.clock import Clock, monotonic
from shared.faults import Transient
from shared.immutable import replace
from shared.isolation import describe
from shared.outbound import NoAnswer, Outbound
from shared.postgres import Connection, Pool, transaction
from shared.sealing import SealingError

log = structlog.get_logger(__name__)

ATTEMPTS = Count("throughline_webhook_attempts_total", "Requests to webhook endpoints", ["outcome"])
LATENCY = Histogram("throughline_webhook_request_seconds", "How long requests to webhook endpoints took")
UNDER_WAY = Gauge("throughline_webhook_requests_under_way", "Requests to webhook endpoints under way")

_CLAIM = timedelta(seconds=10)
"""How long nobody else begins a delivery, and so how long that of a sender that crashed may wait."""
_RENEWED_BEFORE = _CLAIM / 2
"""So long before its end a claim is renewed, and nothing is begun on it any more."""
_POLL_S = 0.5
_BETWEEN_TURNS_S = 0.005
_BEGUN_AT_ONCE = 8
_SLOW_S = 1.0
"""A request that takes longer is slow."""
_FINISH_S = 3.0
_AGAIN_S = 1.0
_RESPONSE_CHARS = 1_000
_MOST_BYTES = 32 * 1024 * 1024
"""Of what is being sent, above which nothing more is claimed."""
_parsed = lru_cache(maxsize=10_000)(URL)


@dataclass
class _Taken:
    """A claimed delivery, and the request for it once that has begun."""

    claimed: Claimed
    """As renewed last."""
    claimed_at: float
    size: int
    began: float = 0.0


class WebhookSender:
    """Sends until it is cancelled; then it lets requests end for a few seconds, and gives back what is not sent."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        signer: WebhookSigner,
        woken: asyncio.Event,
        *,
        outbound: Callable[[], Outbound] = Outbound,
        width: Width = Width(),  # noqa: B008 - nobody changes it
    ) -> None:
        self._pool, self._clock, self._signer = pool, clock, signer
        self._woken, self._outbound, self._flow = woken, outbound, Flow(width)
        self._most_at_once = self._at_once = width.at_once
        """Of what is claimed in a turn; the second while there is more than is read at once."""
        self._waiting: deque[tuple[_Taken, bytes | NotSent]] = deque()
        """What is claimed and not begun yet."""
        self._requests: dict[asyncio.Task[None], _Taken] = {}
        self._outcomes: list[tuple[_Taken, Attempt, Fate]] = []
        self._unsent: list[Claimed] = []

    async def run(self) -> None:
        """Never returns; an outage of the database only delays."""
        async with self._outbound() as outbound:
            self._beginning = asyncio.ensure_future(self._begin(outbound))
            try:
                while True:
                    try:
                        await self._turn(outbound)
                        await self._rest()
                    except Transient as error:
                        log.warning("webhooks_postponed", reason=str(error))
                        await asyncio.sleep(_AGAIN_S)
            finally:
                await self._finish()

    async def _rest(self) -> None:
        """Until something was enqueued or has ended, or it is time to look for what has become due."""
        try:
            async with asyncio.timeout(_POLL_S):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(_BETWEEN_TURNS_S)

    async def _turn(self, outbound: Outbound) -> None:
        """Save what has ended, renew what takes long, claim what there is room for, begin that."""
        self._woken.clear()
        now, began = self._clock(), monotonic()
        outcomes, unsent = list(self._outcomes), list(self._unsent)
        # Looked at together with the outcomes: what ends meanwhile is in neither, and would be claimed a second time.
        ending = self._ending(now)
        room = self._room()
        async with transaction(self._pool) as connection:
            await self._settle(connection, outcomes, unsent)
            renewed = await sending.renew(connection, [one.claimed for one in ending], now + _CLAIM)
            found = await sending.claim(connection, room, now, _CLAIM)
            bodies = await _bodies(connection, found)
            claimed = [one for one in found if one.delivery_id in bodies]
            too_many = [one for one in found if one.delivery_id not in bodies]
            if too_many:
                await sending.release(connection, too_many)
        self._at_once = len(claimed) if too_many else min(2 * self._at_once, self._most_at_once)
        del self._outcomes[: len(outcomes)], self._unsent[: len(unsent)]
        for one in ending:
            one.claimed = renewed.get(one.claimed.delivery_id, one.claimed)
        for each in claimed:
            self._flow.began(each.target.endpoint_id)
            body = bodies[each.delivery_id]
            self._waiting.append((_Taken(each, began, len(body)), body))
        if self._beginning.done():
            self._beginning = asyncio.ensure_future(self._begin(outbound))
        UNDER_WAY.set(len(self._requests))
        if 0 < room.requests == len(found):
            self._woken.set()

    def _room(self) -> Room:
        """What may be claimed; of large events few, and nothing while enough of them are being sent."""
        room = self._flow.room(self._slow())
        held = sum(one.size for one in (*self._requests.values(), *(one for one, _ in self._waiting)))
        return replace(room, requests=0 if held >= _MOST_BYTES else min(room.requests, self._at_once))

    async def _begin(self, outbound: Outbound) -> None:
        """What is claimed, a few at a time: what else this process does, and the next turn, go on meanwhile."""
        while self._waiting:
            one, body = self._waiting.popleft()
            one.began = monotonic()
            task = asyncio.create_task(self._send(outbound, one, body))
            self._requests[task] = one
            task.add_done_callback(self._ended)
            if len(self._waiting) % _BEGUN_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _slow(self) -> list[str]:
        since = monotonic() - _SLOW_S
        return [one.claimed.target.endpoint_id for one in self._requests.values() if one.began < since]

    def _ending(self, now: datetime) -> list[_Taken]:
        """Requests under way whose claims must be renewed."""
        return [one for one in self._requests.values() if one.claimed.claimed_until < now + _RENEWED_BEFORE]

    async def _settle(
        self, connection: Connection, ended: Sequence[tuple[_Taken, Attempt, Fate]], unsent: Sequence[Claimed]
    ) -> None:
        if unsent:
            await sending.release(connection, unsent)
        if ended:
            outcomes = [Outcome(one.claimed, attempt, fate) for one, attempt, fate in ended]
            await sending.settle(connection, outcomes)
            _measure(outcomes)
            await self._judge(
                connection, [one for one in outcomes if one.attempt.error or one.claimed.target.health.failures]
            )

    async def _judge(self, connection: Connection, outcomes: Sequence[Outcome]) -> None:
        """Save how endpoints that fail, or have failed, are doing now; disable those that will get nothing more."""
        if not outcomes:
            return
        health = await sending.lock_health(connection, {one.claimed.target.endpoint_id for one in outcomes})
        for one in outcomes:
            endpoint_id = one.claimed.target.endpoint_id
            if endpoint_id in health:
                health[endpoint_id] = health_after(health[endpoint_id], one.attempt, random.random())  # noqa: S311
                if reason := disabled_by(health[endpoint_id], one.attempt):
                    del health[endpoint_id]
                    await self._disable(connection, endpoint_id, reason)
        await sending.save_health(connection, health)

    async def _disable(self, connection: Connection, endpoint_id: str, reason: DisabledReason) -> None:
        if await disable(connection, endpoint_id, reason, self._clock()) is not None:
            log.warning("webhook_endpoint_disabled", webhook_endpoint_id=endpoint_id, reason=reason)

    async def _send(self, outbound: Outbound, one: _Taken, body: bytes | NotSent) -> None:
        if one.began > one.claimed_at + (_CLAIM - _RENEWED_BEFORE).total_seconds():
            self._unsent.append(one.claimed)
            return
        attempt = await self._attempt(outbound, one.claimed, body)
        fate = fate_of(attempt, one.claimed.tries + 1, random.random())  # noqa: S311
        self._outcomes.append((one, attempt, fate))
        self._flow.answered(one.claimed.target.endpoint_id, well=attempt.error is None)

    async def _attempt(self, outbound: Outbound, claimed: Claimed, body: bytes | NotSent) -> Attempt:
        at, began = self._clock(), monotonic()
        if isinstance(body, str):
            return Attempt(at, 0, None, body)
        target = claimed.target
        try:
            headers = self._signer.headers(
                claimed.event_id, at, body, target.sealed_secret, target.sealed_previous_secret
            )
            answer = await outbound.post(_parsed(target.url), body, headers)
        except NoAnswer as none:
            return Attempt(at, _ms_since(began), None, none.failing)
        except SealingError as reason:
            log.error("webhook_secret_unreadable", webhook_endpoint_id=target.endpoint_id, reason=str(reason))
            return Attempt(at, 0, None, "secret_unreadable")
        error = error_of(answer.status)
        retry_after = answer.headers.get("Retry-After") if error else None
        return Attempt(at, _ms_since(began), answer.status, error, retry_after, _text(answer.body))

    def _ended(self, task: asyncio.Task[None]) -> None:
        claimed = self._requests.pop(task).claimed
        self._flow.ended(claimed.target.endpoint_id)
        if not task.cancelled() and (mistake := task.exception()) is not None:
            # Ours, not the receiver's: it is sent again when its claim has ended.
            log.error("webhook_not_sent", webhook_delivery_id=claimed.delivery_id, failure=describe(mistake))
        self._woken.set()

    async def _finish(self) -> None:
        """What ends soon is saved; the rest is given back at once, and may reach its receiver twice."""
        self._unsent += [one.claimed for one, _ in self._waiting]
        self._waiting.clear()
        if self._requests:
            await asyncio.wait(self._requests, timeout=_FINISH_S)
        for task, one in list(self._requests.items()):
            task.cancel()
            self._unsent.append(one.claimed)
        await asyncio.gather(*self._requests, return_exceptions=True)
        try:
            async with transaction(self._pool) as connection:
                await self._settle(connection, self._outcomes, self._unsent)
        except Transient as error:
            log.warning("webhooks_given_up", reason=str(error), outcomes=len(self._outcomes))


async def _bodies(connection: Connection, claimed: Sequence[Claimed]) -> dict[str, bytes | NotSent]:
    """What is sent, by delivery, or why nothing is; without those for which there was no room."""
    wanted = list(dict.fromkeys(one.event_id for one in claimed if one.test_body is None))
    found, unread = await events.several(connection, wanted) if wanted else ({}, [])
    left_out = set(unread)
    return {
        one.delivery_id: _body(one, found.get(one.event_id))
        for one in claimed
        if one.test_body is not None or one.event_id not in left_out
    }


def _body(claimed: Claimed, event: PublicEvent | None) -> bytes | NotSent:
    """As much as the endpoint may be told now, whatever it was allowed when the event happened."""
    if claimed.test_body is not None:
        return claimed.test_body
    if event is None:
        return "expired"
    scopes = claimed.target.scopes
    # Which app an event is about was settled when the delivery came into being.
    return event.body(scopes) if event.is_for(Reader(scopes, event.grant_id)) else "withheld"


def _measure(outcomes: Sequence[Outcome]) -> None:
    for error, count in Counter(one.attempt.error for one in outcomes).items():
        ATTEMPTS.labels(error or "received").inc(count)
    for one in outcomes:
        LATENCY.observe(one.attempt.latency_ms / 1000)


def _ms_since(began: float) -> int:
    return round((monotonic() - began) * 1000)


def _text(body: bytes) -> str:
    """As text that the database takes, whatever it is."""
    return body.decode("utf-8", "replace").replace("\0", "\ufffd")[:_RESPONSE_CHARS]
