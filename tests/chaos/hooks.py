"""The plugin's receiver of webhooks: verifies every signature, and is sometimes slow, broken or gone for a moment."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from standardwebhooks import WebhookVerificationError

from tests.chaos.journal import Arrival, Install, Journal, digest_of
from tests.receiver import Received, Receiver, answer

_MADE_WITHIN_S = 10.0
_LONGER_THAN_A_REQUEST_S = 20.0
_REFUSES, _HANGS_UP, _HANGS, _DAWDLES = 0.03, 0.04, 0.043, 0.07
"""Up to which number between 0 and 1 an event that comes for the first time is treated so."""


@dataclass
class _Hook:
    install: Install
    secret: asyncio.Future[str | None]
    """Known once the endpoint is made; none where its making was never answered."""
    seen: set[str] = field(default_factory=set)


class Hooks:
    """Every endpoint of the plugin, by path. An event that came before is always taken."""

    def __init__(self, receiver: Receiver, journal: Journal, random: Random) -> None:
        self._receiver, self._journal, self._random = receiver, journal, random
        self._hooks: dict[str, _Hook] = {}
        self.behaves = False
        """Whether everything is taken at once; for the end of a run."""
        receiver.answering = self._answer

    def expect(self, install: Install) -> str:
        """The URL of an endpoint that is about to be made."""
        path = f"/hook/{len(self._hooks)}"
        self._hooks[path] = _Hook(install, asyncio.get_running_loop().create_future())
        return self._receiver.url(path)

    def made(self, url: str, secret: str | None) -> None:
        """It is made; without a secret nobody can verify what comes, and it is refused for good."""
        hook = self._hooks[url.removeprefix(self._receiver.url(""))]
        hook.secret.set_result(secret)
        if secret is not None:
            hook.install.listens_from["webhook"] = time.time()

    async def _answer(self, got: Received) -> bytes:
        at = time.time()
        self._receiver.received.clear()
        hook = self._hooks[got.path]
        secret = None
        with suppress(TimeoutError):
            async with asyncio.timeout(_MADE_WITHIN_S):
                secret = await asyncio.shield(hook.secret)
        if secret is None:
            return answer(410 if hook.secret.done() else 503)
        try:
            event = got.verified(secret)
        except WebhookVerificationError as error:
            self._journal.oddities.append(f"a webhook that is not rightly signed: {error}")
            return answer(401)
        if got.headers["webhook-id"] != event["event_id"]:
            self._journal.oddities.append(f"webhook {got.headers['webhook-id']} holds {event['event_id']}")
        arrival = Arrival(event["event_id"], event["order_id"], digest_of(event), at)
        hook.install.arrivals["webhook"].append(arrival)
        self._journal.note("webhook", event)
        first = arrival.event_id not in hook.seen
        hook.seen.add(arrival.event_id)
        tame = self.behaves or arrival.order_id in self._journal.probes
        refusal = await self._misbehave() if first and not tame else None
        if refusal is None:
            arrival.received_at = time.time()
        return refusal or answer()

    async def _misbehave(self) -> bytes | None:
        """The answer of a receiver that fails; raises where it hangs up, and gives none where it was only slow."""
        draw = self._random.random()
        if draw < _REFUSES:
            self._journal.counted["webhooks: refused"] += 1
            return answer(500)
        if draw < _HANGS_UP:
            self._journal.counted["webhooks: hung up on"] += 1
            raise ConnectionResetError
        if draw < _HANGS:
            self._journal.counted["webhooks: left hanging"] += 1
            await asyncio.sleep(_LONGER_THAN_A_REQUEST_S)
            return answer(500)
        if draw < _DAWDLES:
            self._journal.counted["webhooks: answered slowly"] += 1
            await asyncio.sleep(self._random.uniform(0.5, 3))
        return None
