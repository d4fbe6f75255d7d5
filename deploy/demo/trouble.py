"""Paying when something comes between."""

from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2

from deploy.demo.shop import Shop, card
from deploy.demo.words import PATIENCE_S, Json, eventually, expect, say
from deploy.local.problem import RuntimeProblem


def two_tills_race(shop: Shop) -> None:
    """Two tills want the same balance at the same moment; one of them gets it."""
    order = shop.sell("Headphones", 5000, "pos")
    intents = [shop.intend(order, source="pos") for _ in range(2)]

    def confirm(intent: Json) -> httpx2.Response:
        return shop.send(f"/v1/payment-intents/{intent['payment_intent_id']}/confirm", {"method": card()})

    with ThreadPoolExecutor(len(intents)) as tills:
        answers = list(tills.map(confirm, intents))
    expect(sorted(answer.status_code for answer in answers), [200, 409], "The two answers")
    refused = next(answer for answer in answers if answer.status_code == 409).json()
    attempts = shop.get(f"/v1/orders/{order['order_id']}/payment-attempts")
    expect(len(attempts), 1, "How often a processor was asked")
    say(f"the other one: 409 [bold]{refused['code']}[/bold]; its card was never asked for anything")
    shop.tell_end(order, "paid", 5000)


def the_reply_is_lost(shop: Shop) -> None:
    """The acquirer moves the money and its answer is lost; the order still ends right."""
    order = shop.sell("Backpack", 7000)
    body = {"method": card("lost_reply"), "source": "checkout"}
    answer = shop.send(f"/v1/orders/{order['order_id']}/pay", body, Prefer="wait=0")
    expect(answer.status_code, 202, "The answer while nobody knows")
    [intent] = answer.json()["data"]["payment_intents"]
    path = f"/v1/payment-intents/{intent['payment_intent_id']}"
    say("202: nobody says paid, and nobody says failed. The balance stays reserved, and the acquirer is asked")

    # Whoever reads an intent of which nobody knows has its processor asked first.
    def known() -> Json | None:
        found: Json = shop.get(path)
        return found if found["status"] == "succeeded" else None

    eventually(known, "the acquirer to say what became of it")
    [attempt] = shop.get(f"/v1/orders/{order['order_id']}/payment-attempts")
    expect(attempt["looked_up"] > 0, True, "That the acquirer was asked what became of it")
    say(f"asked what became of the attempt: {attempt['outcome']}; nothing was tried twice")
    shop.wait_for(order, "paid")
    shop.tell_end(order, "paid", 7000)


def the_bank_asks_back(shop: Shop) -> None:
    """The buyer's bank asks back on a page of its own."""
    order = shop.sell("Winter coat", 12_000)
    paid = shop.pay(order, method=card("challenge"), source="checkout")
    expect(paid["status"], "requires_action", "The outcome")
    [intent] = paid["payment_intents"]
    said = _press(intent["next_action"]["url"], "Approve")
    say(f"the buyer opens the page, presses [bold]Approve[/bold], and reads: {said}")

    def known() -> bool:
        return bool(shop.get(f"/v1/payment-intents/{intent['payment_intent_id']}")["status"] == "succeeded")

    eventually(known, "the bank's answer to arrive")
    shop.wait_for(order, "paid")
    shop.tell_end(order, "paid", 12_000)


def _press(url: str, label: str) -> str:
    """Open a page and press one of its buttons, as a browser does it; what the page says after that."""
    with httpx2.Client(timeout=PATIENCE_S, follow_redirects=True) as browser:
        page = _Page(browser.get(url).raise_for_status().text)
        if label not in page.buttons:
            raise RuntimeProblem(f"The page at {urlsplit(url).path} has no button {label}.")
        name, value = page.buttons[label]
        parts = urlsplit(url)
        headers = {"Origin": f"{parts.scheme}://{parts.netloc}", "Sec-Fetch-Site": "same-origin"}
        after = browser.post(urljoin(url, page.action), data={name: value}, headers=headers)
        return _Page(after.raise_for_status().text).said


class _Page(HTMLParser):
    """The buttons of a page's form, by what is written on them, and what its first paragraph says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action, self.said = "", ""
        self.buttons: dict[str, tuple[str, str]] = {}
        self._within: dict[str, str | None] | None = None
        self._reads = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Where a button or a paragraph begins."""
        if tag == "form":
            self.action = dict(attrs).get("action") or ""
        if tag == "button":
            self._within = dict(attrs)
        self._reads = tag == "p" and not self.said

    def handle_data(self, data: str) -> None:
        """What is written on it."""
        if self._within is not None:
            self.buttons[data.strip()] = (self._within.get("name") or "", self._within.get("value") or "")
        if self._reads:
            self.said += data

    def handle_endtag(self, tag: str) -> None:
        """Where it ends."""
        if tag == "button":
            self._within = None
        self._reads = self._reads and tag != "p"
