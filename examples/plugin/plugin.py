"""A plugin: whenever an order is paid, it prints what to pack. Any merchant can install it.

It knows Throughline from its API reference only, and is told of paid orders in all three ways that there are: on its
own Kafka topic, by signed webhooks, and on the event stream. One would do; an event has the same id on all of them.

THROUGHLINE_KEY=tl_test_… python plugin.py
"""

import asyncio
import json
import os
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, Self
from urllib.parse import urlencode

import httpx2
from aiohttp import web
from confluent_kafka import Consumer
from standardwebhooks import Webhook, WebhookVerificationError

Json = dict[str, Any]
Way = Literal["topic", "webhook", "stream"]

HOST = "127.0.0.1"
WANTED = "order.paid"
MANIFEST = [
    {
        "permission_id": "read_orders",
        "title": "Read your orders",
        "description": "To print a packing list for each order that was paid.",
        "required_scopes": ["orders.read"],
    },
    {
        "permission_id": "be_told",
        "title": "Be told at once",
        "description": "So that packing can begin as soon as an order is paid.",
        "required_scopes": ["webhooks.write"],
    },
]
_PATIENCE_S = 30.0


@dataclass(frozen=True)
class Arrival:
    """An event that came in one of the ways."""

    way: Way
    event: Json
    at: datetime

    @property
    def took_ms(self) -> int:
        """Since the order was paid."""
        return round((self.at - datetime.fromisoformat(self.event["created_at"])).total_seconds() * 1000)


class Tokens(httpx2.Auth):
    """Sends the access token with each request, and gets the next one shortly before it ends."""

    def __init__(self, endpoint: str, client: tuple[str, str]) -> None:
        self.endpoint, self._client = endpoint, httpx2.BasicAuth(*client)
        # A refresh token works once; used twice it ends the install, for it could be a thief's. So one at a time. What
        # was not answered is asked again with the same idempotency key, which says that it is no thief.
        self._lock = asyncio.Lock()
        self._access, self._refresh, self._key, self._fresh_until = "", "", _new_key(), 0.0

    def keep(self, answer: httpx2.Response) -> Json:
        """What the token endpoint gave for a code, or for the refresh token of before."""
        given: Json = _checked(answer).json()
        self._access, self._refresh, self._key = given["access_token"], given["refresh_token"], _new_key()
        self._fresh_until = time.monotonic() + given["expires_in"] - 60
        return given

    def refresh_request(self) -> httpx2.Request:
        """Asks for the next token."""
        return self._request(grant_type="refresh_token", refresh_token=self._refresh)

    def code_request(self, **form: str) -> httpx2.Request:
        """Asks for the first one."""
        return self._request(grant_type="authorization_code", **form)

    def _request(self, **form: str) -> httpx2.Request:
        headers = {"Idempotency-Key": self._key}
        return next(self._client.auth_flow(httpx2.Request("POST", self.endpoint, data=form, headers=headers)))

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        async with self._lock:
            if time.monotonic() > self._fresh_until:
                answer = yield self.refresh_request()
                await answer.aread()
                # One that is refused leaves the old token, and the request itself is answered with 401.
                if answer.is_success:
                    self.keep(answer)
        request.headers["Authorization"] = f"Bearer {self._access}"
        yield request


def _new_key() -> str:
    return secrets.token_urlsafe(16)


class Plugin:
    """The app from its registration to its end; it deletes itself when the context ends."""

    def __init__(self, api: str, developer_key: str) -> None:
        self.arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        self.app: Json = {}
        self._developer = httpx2.AsyncClient(
            base_url=api, headers={"Authorization": f"Bearer {developer_key}"}, timeout=_PATIENCE_S
        )
        self.http = httpx2.AsyncClient(base_url=api, timeout=_PATIENCE_S)
        """As the installed app, once it is installed."""
        self._state, self._verifier = secrets.token_urlsafe(16), secrets.token_urlsafe(48)
        self._redirected: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        self._signed: Webhook | None = None
        self._stopping = False
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """The web server answers, for the browser that comes back and for webhooks."""
        site = web.Application()
        site.add_routes([web.get("/installed", self._browser_came_back), web.post("/webhook", self._webhook_came)])
        self._server = web.AppRunner(site, access_log=None)
        await self._server.setup()
        await web.TCPSite(self._server, HOST, int(os.environ.get("PLUGIN_PORT", "0"))).start()
        self.origin = f"http://{HOST}:{self._server.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        if self._reading is not None:
            await self._reading
        if self.app:
            await self._developer.delete(f"/v1/developer/partner/apps/{self.app['partner_app_id']}")
        await self.http.aclose()
        await self._developer.aclose()
        await self._server.cleanup()

    # How it comes to a merchant

    async def register(self) -> None:
        """The developer's key makes the app; its secret is in this answer only."""
        wanted = {
            "name": "Packing lists",
            "type": "server",
            "redirect_uris": [f"{self.origin}/installed"],
            "manifest": MANIFEST,
        }
        self.app = _data(await self._developer.post("/v1/developer/partner/apps", json=wanted))
        self.oauth = _checked(await self._developer.get("/.well-known/oauth-authorization-server")).json()
        self.tokens = Tokens(self.oauth["token_endpoint"], (self.app["partner_app_id"], self.app["client_secret"]))

    def consent_url(self) -> str:
        """The page on which a merchant lets the app in. The challenge is PKCE: only who knows the verifier can use
        the code that comes back."""
        challenge = urlsafe_b64encode(sha256(self._verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.app["partner_app_id"],
            "redirect_uri": f"{self.origin}/installed",
            "state": self._state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{self.oauth['authorization_endpoint']}?{urlencode(asked)}"

    async def installed(self) -> Json:
        """Waits for the browser to come back with a code, and exchanges it: for whom the app works, and what it may."""
        came = await self._redirected
        if "code" not in came:
            raise RuntimeError(f"not installed: {came.get('error_description') or came.get('error')}")
        exchange = self.tokens.code_request(
            code=came["code"], code_verifier=self._verifier, redirect_uri=f"{self.origin}/installed"
        )
        given = self.tokens.keep(await self.http.send(exchange))
        self.http.auth = self.tokens
        return given

    async def _browser_came_back(self, request: web.Request) -> web.Response:
        """Only the answer to our own question counts (`state`), and only from who was asked (`iss`)."""
        came = request.query
        ours = secrets.compare_digest(came.get("state", "").encode(), self._state.encode())
        if not ours or came.get("iss") != self.oauth["issuer"] or self._redirected.done():
            return web.Response(status=400, text="This is no answer to a question of ours.")
        self._redirected.set_result(came)
        return web.Response(text="Thank you. You can close this page.")

    # What it does

    async def read_order(self, order_id: str) -> Json:
        """The order as it is now, by HTTP."""
        return _data(await self.http.get(f"/v1/orders/{order_id}"))

    async def read_topic(self) -> Json:
        """Begins to read the app's own topic, with a password that nobody else knows; says what it reads."""
        async with asyncio.timeout(_PATIENCE_S):
            while _data(await self.http.get("/v1/plugin-topic"))["status"] != "ready":
                await asyncio.sleep(0.1)
        topic = _data(await self.http.post("/v1/plugin-topic/rotate-credentials"))
        ready, loop = asyncio.Event(), asyncio.get_running_loop()
        self._reading = asyncio.create_task(
            asyncio.to_thread(self._poll, topic, loop, lambda: loop.call_soon_threadsafe(ready.set))
        )
        async with asyncio.timeout(_PATIENCE_S):
            await ready.wait()
        return topic

    def _poll(self, topic: Json, loop: asyncio.AbstractEventLoop, ready: Any) -> None:
        consumer = Consumer(kafka_options(topic) | {"auto.offset.reset": "earliest"})
        consumer.subscribe([topic["topic"]], on_assign=lambda *_: ready())
        while not self._stopping:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if message.error():
                print(f"Kafka: {message.error()}", file=sys.stderr)
            elif dict(message.headers() or [])["ce_type"] == WANTED.encode():
                arrival = Arrival("topic", json.loads(message.value() or b""), datetime.now(UTC))
                loop.call_soon_threadsafe(self.arrivals.put_nowait, arrival)
        consumer.close()

    async def ask_for_webhooks(self) -> Json:
        """From now on paid orders are posted to us, signed with a secret that is in this answer only."""
        wanted = {"url": f"{self.origin}/webhook", "event_types": [WANTED]}
        endpoint = _data(await self.http.post("/v1/webhook-endpoints", json=wanted))
        self._signed = Webhook(endpoint["secret"])
        return endpoint

    async def _webhook_came(self, request: web.Request) -> web.Response:
        try:
            if self._signed is None:
                raise WebhookVerificationError("nothing was asked for")
            event = self._signed.verify(await request.read(), dict(request.headers))
        except (WebhookVerificationError, ValueError):
            return web.Response(status=401)
        self.arrivals.put_nowait(Arrival("webhook", event, datetime.now(UTC)))
        return web.Response(status=204)

    async def follow_stream(self, open_: asyncio.Event) -> None:
        """Follows the stream, again and again where it breaks off; returns when we are no longer let in."""
        last = ""
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                async with self.http.sse("/v1/events/stream", params={"type": WANTED}, headers=headers) as source:
                    if source.response.status_code == 401:
                        return
                    source.response.raise_for_status()
                    open_.set()
                    async for each in source:
                        last = each.id
                        self.arrivals.put_nowait(Arrival("stream", each.json(), datetime.now(UTC)))
            except httpx2.TransportError as error:
                print(f"The stream broke off: {error!r}", file=sys.stderr)
                await asyncio.sleep(1)
            # What ends without an error can begin again at once; a little later, in case it ends at once every time.
            await asyncio.sleep(0.1)


def kafka_options(topic: Json) -> dict[str, Any]:
    """What `rotate-credentials` answered, in the words of librdkafka."""
    security = topic["security"]
    return {
        "bootstrap.servers": topic["bootstrap_servers"],
        "security.protocol": security["protocol"],
        "sasl.mechanism": security["mechanism"],
        "sasl.username": security["username"],
        "sasl.password": security["password"],
        "group.id": f"{topic['group_prefix']}packing",
    }


def _checked(answer: httpx2.Response) -> httpx2.Response:
    """The answer, when it is the one that was hoped for; the API's own words otherwise."""
    if not answer.is_success:
        raise RuntimeError(f"{answer.request.method} {answer.url.path} answered {answer.status_code}: {answer.text}")
    return answer


def _data(answer: httpx2.Response) -> Json:
    data: Json = _checked(answer).json()["data"]
    return data


async def _pack(plugin: Plugin) -> None:
    """Each paid order once, whichever way tells of it first."""
    packed = set()
    while True:
        arrival = await plugin.arrivals.get()
        event = arrival.event
        print(f"{event['type']} {event['event_id']} by {arrival.way}, {arrival.took_ms} ms after it happened")
        if event["event_id"] in packed:
            continue
        packed.add(event["event_id"])
        order = await plugin.read_order(event["order_id"])
        print(f"  To pack for order {order['number']}:")
        for line in order["line_items"]:
            print(f"    {line['quantity']} × {line['name']}")


async def main() -> None:
    """Register, wait to be installed, work until the merchant takes it out again or Ctrl-C."""
    api = os.environ.get("THROUGHLINE_API", f"http://{HOST}:8080")
    async with Plugin(api, os.environ["THROUGHLINE_KEY"]) as plugin:
        await plugin.register()
        print(f"Open this page in a browser and sign in:\n\n  {plugin.consent_url()}\n")
        given = await plugin.installed()
        print(f"Installed at {given['merchant_id']} ({given['mode']}). It may: {given['scope']}")
        topic, endpoint, is_open = await plugin.read_topic(), await plugin.ask_for_webhooks(), asyncio.Event()
        packing = asyncio.create_task(_pack(plugin))
        print(f"Reads {topic['topic']}, takes webhooks at {endpoint['url']}, follows the stream. Pay an order!")
        following = asyncio.create_task(plugin.follow_stream(is_open))
        await asyncio.wait([following, packing], return_when=asyncio.FIRST_COMPLETED)
        if packing.done():
            packing.result()
        packing.cancel()
        await following
        print("The merchant has taken the app out.")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyError as missing:
        sys.exit(f"Set {missing.args[0]}: an API key with apps.write.")
    except (RuntimeError, httpx2.TransportError, OSError) as problem:
        sys.exit(f"{problem}")
    except KeyboardInterrupt:
        print("The app is deleted.")
