"""A plugin that keeps a journal: installed through the pages, told by its topic, by webhooks and by the stream.

It knows the public API only. A request for tokens that is not answered is repeated with its idempotency key; where that
does not help for long, the merchant is asked anew.
"""

import asyncio
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from typing import Any
from urllib.parse import urlencode

import httpx2

from shared.ids import new_id
from tests.chaos.hooks import Hooks
from tests.chaos.journal import Arrival, Install, Journal, Json, digest_of
from tests.chaos.merchants import Merchant
from tests.chaos.topic_reader import TopicReader
from tests.people import query_of

_AUTHORIZE, _REDIRECT = "/v1/oauth/authorize", "https://plugin.example/installed"
_MANIFEST = [
    {
        "permission_id": "all",
        "title": "Read your orders and payments",
        "description": "To keep a journal of them, and be told of them.",
        "required_scopes": ["orders.read", "payments.read", "webhooks.write"],
    }
]
_TIMEOUT = httpx2.Timeout(5)
_SILENCE = httpx2.Timeout(5, read=25)
"""A stream is seen to live every ten seconds."""
_PATIENCE_S = 120.0
_SOON = timedelta(seconds=8)
"""A webhook that failed once is sent again after five seconds, after its second failure in five minutes."""
_REPEATS_S = 30.0
"""For how long a request for tokens is repeated; a code lasts two minutes."""
_TOKEN_S = (30.0, 200.0)
"""After how long a token is exchanged for the next one; each would last ten minutes."""


@dataclass
class Session:
    """What the plugin holds at one merchant."""

    install: Install
    merchant: Merchant
    install_id: str = ""
    grant_id: str = ""
    access: str = ""
    refresh: str = ""
    fresh_until: float = 0.0
    following: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Plugin:
    """One partner app."""

    def __init__(self, journal: Journal, random: Random, http: httpx2.AsyncClient, hooks: Hooks) -> None:
        self.journal, self.hooks = journal, hooks
        self._random, self._http = random, http
        self._app: Json = {}
        self._reader: TopicReader | None = None

    async def register(self, developer: httpx2.AsyncClient) -> None:
        wanted = {"name": "Journal", "type": "server", "redirect_uris": [_REDIRECT], "manifest": _MANIFEST}
        answer = await developer.post("/v1/developer/partner/apps", json=wanted)
        self._app = answer.raise_for_status().json()["data"]

    @property
    def app_id(self) -> str:
        return str(self._app["partner_app_id"])

    @property
    def group(self) -> str:
        """In which it reads its topic."""
        return f"plugins.{self.app_id}.chaos"

    # Coming in

    async def enter(self, merchant: Merchant) -> Session:
        """The merchant has let the plugin in."""
        session = Session(Install(merchant.merchant_id, time.time()), merchant)
        # Before it is true: something may come before the answer does.
        self.journal.installs.append(session.install)
        await self._exchange(session)
        session.install.given_at = session.install.listens_from["topic"] = time.time()
        return session

    async def listen(self, session: Session) -> None:
        """Webhooks and the stream come as well, from some moment soon on."""
        session.following = asyncio.create_task(self._follow(session))
        secret = None
        while secret is None:
            url = self.hooks.expect(session.install)
            made = await self.call(session, "POST", "/v1/webhook-endpoints", {"url": url, "event_types": ["*"]})
            # An answer that is given again does not hold the secret.
            secret = made.get("secret")
            self.hooks.made(url, secret)

    async def _exchange(self, session: Session) -> None:
        while (given := await self._try_exchange(session.merchant)) is None:
            await self._pause()
        self._keep(session, given)

    async def _try_exchange(self, merchant: Merchant) -> Json | None:
        """What a new approval gives; none where its outcome is not known or the service wants to be asked later."""
        verifier, owner = secrets.token_urlsafe(48), merchant.owner
        asked = {
            "client_id": self.app_id,
            "redirect_uri": _REDIRECT,
            "response_type": "code",
            "state": secrets.token_urlsafe(16),
            "mode": "test",
            "code_challenge": _challenge_of(verifier),
            "code_challenge_method": "S256",
        }
        try:
            page = await owner.http.get(f"{_AUTHORIZE}?{urlencode(asked)}")
            if page.status_code != 200:
                return self._failed("consent", page)
            back = await owner.send(page, _AUTHORIZE, decision="approve")
            code = query_of(back.headers.get("location", "")).get("code")
            if code is None:
                return self._failed("approval", back)
            form = {"grant_type": "authorization_code", "code": code, "redirect_uri": _REDIRECT}
            return await self._token("exchange", form | {"code_verifier": verifier})
        except httpx2.HTTPError as error:
            self._broke("exchange", error)
            return None

    async def _token(self, what: str, form: dict[str, str]) -> Json | None:
        """What is given in the end; none where it is refused, or not answered for long."""
        client, headers = (self.app_id, self._app["client_secret"]), {"Idempotency-Key": new_id("idem")}
        ends_at, path = time.monotonic() + _REPEATS_S, "/v1/oauth/token"
        while time.monotonic() < ends_at:
            try:
                answer = await self._http.post(path, data=form, auth=client, headers=headers, timeout=_TIMEOUT)
            except httpx2.HTTPError as error:
                self._broke(what, error)
                self.journal.counted[f"plugin: {what}, asked for again"] += 1
            else:
                if answer.status_code == 200:
                    self.journal.counted[f"plugin: {what}"] += 1
                    found: Json = answer.json()
                    return found
                # A refresh token ends with a later approval, also one of whose outcome the plugin never knew.
                self._failed(what, answer, *((400,) if what == "refresh" else ()))
                if answer.status_code != 503:
                    return None
            await self._pause()
        return None

    def _keep(self, session: Session, given: Json) -> None:
        session.access, session.refresh = given["access_token"], given["refresh_token"]
        if session.grant_id not in ("", given["environment_grant_id"]):
            self.journal.oddities.append(f"grant {session.grant_id} has ended, and nobody has ended it")
        session.install_id, session.grant_id = given["partner_app_install_id"], given["environment_grant_id"]
        session.fresh_until = time.monotonic() + self._random.uniform(*_TOKEN_S)

    async def _authorization(self, session: Session) -> dict[str, str]:
        """With the token as it is, or the next one."""
        async with session.lock:
            if time.monotonic() > session.fresh_until and session.install.revoking_at is None:
                form = {"grant_type": "refresh_token", "refresh_token": session.refresh}
                given = await self._token("refresh", form)
                if given is None:
                    await self._exchange(session)
                else:
                    self._keep(session, given)
        return {"Authorization": f"Bearer {session.access}"}

    # Being told

    async def read_topic(self, session: Session) -> None:
        """Reads the app's topic, for all merchants, with a password of its own."""
        async with asyncio.timeout(_PATIENCE_S):
            while (await self.call(session, "GET", "/v1/plugin-topic"))["status"] != "ready":
                await self._pause()
        login = await self.call(session, "POST", "/v1/plugin-topic/rotate-credentials")
        self._reader = TopicReader(login, self.journal.errors, self._came_on_topic)
        await self._reader.start()

    async def stop(self) -> None:
        if self._reader is not None:
            await self._reader.stop()

    def _came_on_topic(self, partition: int, offset: int, event: Json) -> None:
        self.journal.read[partition, offset] = event["event_id"]
        self.journal.note("topic", event)

    async def _follow(self, session: Session) -> None:
        """The stream, again and again from where it was, until the plugin is no longer let in."""
        install, last = session.install, ""
        while True:
            headers = await self._authorization(session) | ({"Last-Event-ID": last} if last else {})
            try:
                async with self._http.sse("/v1/events/stream", headers=headers, timeout=_SILENCE) as source:
                    if source.response.status_code == 401 and install.revoked_at is not None:
                        install.shut_after_s.setdefault("stream", time.time() - install.revoked_at)
                        return
                    if source.response.status_code != 200:
                        await source.response.aread()
                        self._failed("stream", source.response, 401)
                    else:
                        self.journal.counted["plugin: stream opened"] += 1
                        if not last:
                            install.listens_from["stream"] = time.time()
                        async for each in source:
                            last, event = each.id, each.json()
                            arrival = Arrival(last, event["order_id"], digest_of(event), time.time())
                            install.arrivals["stream"].append(arrival)
                            self.journal.note("stream", event)
            except httpx2.HTTPError as error:
                self._broke("stream", error)
            await self._pause()

    async def resend(self, session: Session) -> None:
        """What was not received, and would be sent again only in minutes, is asked for at once."""
        for one in await self.call(session, "GET", "/v1/webhook-deliveries?status=pending&page_size=100"):
            if datetime.fromisoformat(one["next_attempt_at"]) > datetime.now(UTC) + _SOON:
                self.journal.counted["webhooks: asked for again"] += 1
                await self.call(session, "POST", f"/v1/webhook-deliveries/{one['webhook_delivery_id']}/resend")

    # Asking

    async def call(self, session: Session, method: str, path: str, body: Json | None = None) -> Any:
        """What it answers in the end; the same request is sent again after errors, time-outs and 503."""
        key, ends_at = new_id("idem"), time.monotonic() + _PATIENCE_S
        while time.monotonic() < ends_at:
            headers = await self._authorization(session) | {"Idempotency-Key": key}
            try:
                answer = await self._http.request(method, path, json=body, headers=headers, timeout=_TIMEOUT)
            except httpx2.HTTPError as error:
                self._broke(path, error)
            else:
                if answer.is_success:
                    return answer.json()["data"]
                self._failed(path, answer, 401, 409)
            await self._pause()
        raise RuntimeError(f"{method} {path} was not answered in {_PATIENCE_S:.0f} s")

    async def status_of(self, session: Session, url: str) -> int | None:
        """What a request with the plugin's token is answered; none where there was no answer."""
        try:
            headers = {"Authorization": f"Bearer {session.access}"}
            return (await self._http.get(url, headers=headers, timeout=_TIMEOUT)).status_code
        except httpx2.HTTPError:
            return None

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.uniform(0.05, 0.3))

    def _broke(self, what: str, error: Exception) -> None:
        self.journal.errors[f"plugin: {what}: {type(error).__name__}"] += 1

    def _failed(self, what: str, answer: httpx2.Response, *also_fine: int) -> Any:
        """Noted; 503 asks to try later, and whatever else was not to be expected is odd."""
        self.journal.errors[f"plugin: {what}: {answer.status_code}"] += 1
        if answer.status_code not in (503, *also_fine):
            self.journal.oddities.append(f"plugin: {what}: {answer.status_code} {answer.text[:300]}")


def _challenge_of(verifier: str) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
