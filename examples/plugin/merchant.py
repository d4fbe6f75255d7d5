"""The merchant in the story of `demo.py`: a browser that sends forms as they are on the pages, and a shop."""

import uuid
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx2

Json = dict[str, Any]

_TIMEOUT_S = 30.0


class Wrong(Exception):
    """Something is not as it was said."""


class Page(HTMLParser):
    """What a person sees of a page: its forms with their fields, its headings."""

    def __init__(self, answer: httpx2.Response) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append((found["action"], {}))
        elif tag == "input" and self.forms and found.get("type") not in ("checkbox", "radio"):
            self.forms[-1][1][found["name"]] = found.get("value", "")

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append(data.strip())


class Browser:
    """The merchant's: keeps cookies, follows redirects, sends forms."""

    def __init__(self, api: str) -> None:
        self._http = httpx2.AsyncClient(base_url=api, follow_redirects=True, timeout=_TIMEOUT_S)

    async def open(self, url: str) -> httpx2.Response:
        """The page, or the one that it leads to."""
        return _checked(await self._http.get(url))

    async def send(self, page: httpx2.Response, action: str, **fields: str) -> httpx2.Response:
        """Fill in the form that goes there, and send it."""
        for where, known in Page(page).forms:
            if urlsplit(where).path == action:
                return _checked(await self._http.post(where, data=known | fields))
        raise Wrong(f"There is no form for {action} on {page.url}.")

    async def close(self) -> None:
        await self._http.aclose()


class Shop:
    """The merchant's own program: makes orders, is told that they were paid, sees all events."""

    def __init__(self, api: str, key: str, channel_id: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx2.AsyncClient(base_url=api, headers=headers, timeout=_TIMEOUT_S)
        self._channel_id = channel_id

    async def order(self) -> Json:
        """A new one, not paid."""
        line = {"name": "Rain jacket", "quantity": 2, "unit_price_money": {"amount": 4500, "currency": "EUR"}}
        made: Json = _data(await self.http.post("/v1/orders", json={"currency": "EUR", "line_items": [line]}))
        return made

    async def pay(self, order: Json) -> None:
        """The channel has captured all of it."""
        captured = {
            "order_id": order["order_id"],
            "payment_reference": f"psp-{uuid.uuid4()}",
            "amount_money": order["pricing"]["total_money"],
            "method": {"type": "card", "brand": "visa", "last4": "4242"},
        }
        event = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "type": "channel.payment.captured.v1",
            "source": f"/channels/{self._channel_id}",
            "data": captured,
        }
        headers = {"Content-Type": "application/cloudevents+json"}
        _data(await self.http.post("/v1/channel-events", json=event, headers=headers))

    async def paid_events(self) -> list[Json]:
        """The newest `order.paid`."""
        found: list[Json] = _data(await self.http.get("/v1/events", params={"type": "order.paid", "page_size": 100}))
        return found


def _checked(answer: httpx2.Response) -> httpx2.Response:
    if not answer.is_success:
        raise Wrong(f"{answer.request.method} {answer.url.path} answered {answer.status_code}: {answer.text[:500]}")
    return answer


def _data(answer: httpx2.Response) -> Any:
    return _checked(answer).json()["data"]
