"""The life of `plugin.py` as a story: registered, installed in a browser, told of paid orders, taken out again.

Beside the plugin there is only the merchant, of `merchant.py`: its browser, and its shop. All of them know the public
API only. Every step is checked and timed; the exit code is 1 when one goes wrong.
`make demo-plugin` sets what it needs.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx2
from confluent_kafka import Consumer, KafkaError, KafkaException
from merchant import Browser, Json, Page, Shop, Wrong
from plugin import WANTED, Arrival, Plugin, Way, kafka_options
from rich.console import Console
from rich.markup import escape
from rich.table import Table

WAYS: tuple[Way, ...] = ("topic", "webhook", "stream")
SHUT_WITHIN_S = float(os.environ.get("SHUT_WITHIN_S", "1"))
"""The promise is one second; a machine that is busy with other things may need more patience."""
_PAID_LATER, _PAUSE_S, _SETTLE_S = 20, 0.1, 2.0
_PATIENCE_S = 30.0
_EACH_SERVICE = ("/v1/orders?page_size=1", "/v1/unmatched-money", "/v1/events")

console = Console(highlight=False, soft_wrap=True)


async def tell(api: str, key: str, channel_id: str, email: str, password: str) -> None:
    """The whole story."""
    browser, shop = Browser(api), Shop(api, key, channel_id)
    try:
        async with Plugin(api, key) as plugin:
            given = await _install(plugin, browser, email, password)
            order = await _read(plugin, shop)
            topic = await _topic(plugin)
            async with _pushed(plugin) as following:
                await _forged(plugin)
                await _paid(plugin, shop, order)
                await _taken_out(plugin, browser, shop, given, following)
            _heading("7. The developer deletes the app")
            began = time.perf_counter()
        await _kafka_refuses(topic)
        _say(f"Kafka no longer knows {topic['security']['username']}", began)
    finally:
        await browser.close()
        await shop.http.aclose()


async def _install(plugin: Plugin, browser: Browser, email: str, password: str) -> Json:
    _heading("1. A developer registers an app with an API key")
    began = time.perf_counter()
    await plugin.register()
    _say(f"POST /v1/developer/partner/apps -> {plugin.app['partner_app_id']}", began)

    _heading("2. A merchant installs it in a browser")
    began = time.perf_counter()
    to_sign_in = await browser.open(plugin.consent_url())
    consent = await browser.send(to_sign_in, "/sign-in", email=email, password=password)
    _say(f"signed in as {email}", began)
    shown = Page(consent).text
    for expected in ("Install Packing lists?", "This app cannot move money or change prices.", "Read your orders"):
        if expected not in shown:
            raise Wrong(f"The consent page does not say: {expected}")
    began = time.perf_counter()
    last = await browser.send(consent, "/v1/oauth/authorize", decision="approve")
    if not str(last.url).startswith(f"{plugin.origin}/installed?"):
        raise Wrong(f"The browser is at {last.url}, and not back at the plugin.")
    _say("approved on the consent page, and came back to the plugin with a code", began)
    began = time.perf_counter()
    given = await plugin.installed()
    if (given["scope"], given["mode"]) != ("orders.read webhooks.write", "test"):
        raise Wrong(f"The plugin was given {given['scope']} in {given['mode']}.")
    _say(f"the plugin exchanged the code (PKCE), and may: {given['scope']}", began)
    return given


async def _read(plugin: Plugin, shop: Shop) -> Json:
    _heading("3. The plugin reads an order over HTTP with its token")
    order = await shop.order()
    began = time.perf_counter()
    seen = await plugin.read_order(order["order_id"])
    if seen["version"] != 1 or seen["payment_status"] != "unpaid":
        raise Wrong(f"The order is not as it was made: {seen}")
    _say(f"GET /v1/orders/{order['order_id']} -> number {seen['number']}, {seen['payment_status']}", began)
    refused = await plugin.http.post("/v1/orders", json={})
    if refused.status_code != 403:
        raise Wrong(f"The plugin may read only, but making an order answered {refused.status_code}.")
    _say("making one is refused: nobody let it")
    return order


async def _topic(plugin: Plugin) -> Json:
    _heading("4. It listens in three ways")
    began = time.perf_counter()
    topic = await plugin.read_topic()
    _say(f"{topic['topic']}, read by librdkafka", began)
    return topic


@asynccontextmanager
async def _pushed(plugin: Plugin) -> AsyncIterator["asyncio.Task[None]"]:
    """Webhooks and the stream; gives what ends when the stream does, for good."""
    began = time.perf_counter()
    endpoint = await plugin.ask_for_webhooks()
    _say(f"webhooks to {endpoint['url']}, verified with standardwebhooks", began)
    began, is_open = time.perf_counter(), asyncio.Event()
    following = asyncio.create_task(plugin.follow_stream(is_open))
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await is_open.wait()
        _say("GET /v1/events/stream", began)
        yield following
    finally:
        following.cancel()


async def _forged(plugin: Plugin) -> None:
    headers = {
        "webhook-id": "evt_forged",
        "webhook-timestamp": str(int(time.time())),
        "webhook-signature": "v1,c2lnbmVkIGJ5IG5vYm9keQ==",
    }
    async with httpx2.AsyncClient() as anybody:
        answer = await anybody.post(f"{plugin.origin}/webhook", json={"type": WANTED}, headers=headers)
    if answer.status_code != 401 or not plugin.arrivals.empty():
        raise Wrong("The plugin believed a webhook that nobody signed.")
    _say("a webhook that somebody else signed is refused")


async def _paid(plugin: Plugin, shop: Shop, order: Json) -> None:
    _heading("5. The order is paid, and the plugin is told in all three ways")
    await shop.pay(order)
    came: dict[Way, Arrival] = {}
    async with asyncio.timeout(_PATIENCE_S):
        while len(came) < len(WAYS):
            arrival = await plugin.arrivals.get()
            if arrival.way in came or arrival.event["order_id"] != order["order_id"]:
                raise Wrong(f"{arrival.way} told of {arrival.event['event_id']}, which was not expected.")
            came[arrival.way] = arrival
    events = [arrival.event for arrival in came.values()]
    if events != [events[0]] * len(events) or events[0]["data"]["order"]["payment_status"] != "paid":
        raise Wrong(f"The three ways do not tell the same: {events}")
    if "customer" in events[0]["data"]["order"]:
        raise Wrong("The event says who the customer is, which the merchant did not allow.")
    _table(
        ("way", "event", "after it happened"),
        [(way, f"{came[way].event['type']} {came[way].event['event_id']}", f"{came[way].took_ms} ms") for way in WAYS],
    )


async def _taken_out(
    plugin: Plugin, browser: Browser, shop: Shop, given: Json, following: "asyncio.Task[None]"
) -> None:
    _heading("6. The merchant takes the app out again, while orders go on being paid")
    account = await browser.open("/account")
    ended: list[datetime] = []
    following.add_done_callback(lambda _: ended.append(datetime.now(UTC)))
    clicked = datetime.now(UTC)
    asking = [asyncio.create_task(_refused_since(plugin, path)) for path in _EACH_SERVICE]
    revoke = f"/account/grants/{quote(given['environment_grant_id'])}/revoke"
    revoking = asyncio.create_task(browser.send(account, revoke))
    late = await _go_on_selling(shop, [*asking, following])
    await asyncio.gather(revoking, following)
    refused = await asyncio.gather(*asking)
    # Whatever was still under way has arrived by then.
    await asyncio.sleep(_SETTLE_S)
    await _tokens_are_over(plugin)
    _all_is_shut(plugin, clicked, max(refused), ended[0], late)


async def _go_on_selling(shop: Shop, shutting: Sequence["asyncio.Task[Any]"]) -> set[str]:
    """Orders are paid until enough of them were paid after all that was shut; those, of which the merchant is told."""
    late: set[str] = set()
    give_up = time.monotonic() + _PATIENCE_S
    while len(late) < _PAID_LATER:
        order = await shop.order()
        if all(task.done() for task in shutting):
            late.add(order["order_id"])
        elif time.monotonic() > give_up:
            raise Wrong(f"HTTP or the stream is still open after {_PATIENCE_S:.0f} s.")
        await shop.pay(order)
        await asyncio.sleep(_PAUSE_S)
    async with asyncio.timeout(_PATIENCE_S):
        while not late <= {event["order_id"] for event in await shop.paid_events()}:
            await asyncio.sleep(0.1)
    return late


def _all_is_shut(plugin: Plugin, clicked: datetime, refused: datetime, ended: datetime, late: set[str]) -> None:
    """Each way, after how long since the click it was shut; raises when one was open for too long."""
    last, count = dict.fromkeys(WAYS, clicked), dict.fromkeys(WAYS, 0)
    while not plugin.arrivals.empty():
        arrival = plugin.arrivals.get_nowait()
        last[arrival.way] = max(last[arrival.way], arrival.at)
        count[arrival.way] += arrival.event["order_id"] in late

    def came(way: Way) -> str:
        return f"{count[way]} of {len(late)} later orders came"

    shut = [
        ("HTTP", refused, "401 by each service; refreshing: invalid_grant"),
        ("topic", last["topic"], came("topic")),
        ("webhook", last["webhook"], came("webhook")),
        ("stream", max(ended, last["stream"]), f"ended, then 401; {came('stream')}"),
    ]
    rows = [(way, "at once" if at == clicked else f"{_ms(at - clicked)} ms", how) for way, at, how in shut]
    _table(("way", "shut after", "how it shows"), rows)
    within = timedelta(seconds=SHUT_WITHIN_S)
    still_open = [way for way, at, _ in shut if at - clicked > within]
    if still_open:
        raise Wrong(f"Open for longer than {SHUT_WITHIN_S:g} s: {', '.join(still_open)}.")
    if any(count.values()):
        raise Wrong("The plugin was told of orders after everything was shut.")


async def _refused_since(plugin: Plugin, path: str) -> datetime:
    """When this was refused, for good."""
    async with asyncio.timeout(_PATIENCE_S):
        while (await plugin.http.get(path)).status_code != 401:
            await asyncio.sleep(0.02)
    since = datetime.now(UTC)
    await asyncio.sleep(1)
    if (await plugin.http.get(path)).status_code != 401:
        raise Wrong(f"{path} was shut, and is open again.")
    return since


async def _tokens_are_over(plugin: Plugin) -> None:
    answer = await plugin.http.send(plugin.tokens.refresh_request(), auth=None)
    if answer.status_code != 400 or answer.json()["error"] != "invalid_grant":
        raise Wrong(f"Refreshing the token answered {answer.status_code}: {answer.text}")


async def _kafka_refuses(topic: Json) -> None:
    """The password that let the plugin in does so no more."""

    def is_refused() -> bool:
        errors: list[KafkaError] = []
        client = Consumer(kafka_options(topic) | {"error_cb": errors.append, "log_level": 0})
        try:
            client.list_topics(timeout=2)
        except KafkaException:
            # The reason is told on the side.
            client.poll(0)
        finally:
            client.close()
        return any(error.code() == KafkaError._AUTHENTICATION for error in errors)

    async with asyncio.timeout(_PATIENCE_S):
        while not await asyncio.to_thread(is_refused):
            await asyncio.sleep(0.2)


def _ms(took: timedelta) -> int:
    return round(took.total_seconds() * 1000)


def _heading(text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/bold cyan]")


def _say(text: str, began: float | None = None) -> None:
    took = "" if began is None else f"  [dim]{(time.perf_counter() - began) * 1000:.0f} ms[/dim]"
    console.print(f"  {escape(text)}{took}")


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def main() -> None:
    names = ("THROUGHLINE_API", "THROUGHLINE_KEY", "THROUGHLINE_CHANNEL", "STAFF_EMAIL", "STAFF_PASSWORD")
    missing = [name for name in names if name not in os.environ]
    if missing:
        sys.exit(f"Not set: {', '.join(missing)}. It is easier with: make demo-plugin")
    began = time.perf_counter()
    try:
        asyncio.run(tell(*(os.environ[name] for name in names)))
    except (Wrong, RuntimeError, httpx2.HTTPError, TimeoutError) as problem:
        sys.exit(f"Not as it should be: {problem or repr(problem)}")
    except KeyboardInterrupt:
        sys.exit(130)
    console.print(
        f"\n[bold green]Done[/bold green] in {time.perf_counter() - began:.1f} s. "
        "Every step above was checked, not only printed."
    )


if __name__ == "__main__":
    main()
