"""A shop with its tills and its web channel: what it does by HTTP with an API key, and on the channel's topic."""

from functools import cached_property
from types import TracebackType
from typing import Any, Self

import httpx2

from deploy.demo.kafka import ChannelTopic
from deploy.demo.words import PATIENCE_S, Json, console, euros, eventually, expect, money, say
from deploy.local.problem import RuntimeProblem
from shared.clock import utc_now
from shared.ids import new_id


class Shop:
    """Who sells in the stories. `status` says where and with which credentials; see `deploy.demo.run`."""

    def __init__(self, status: Json, observer: Json) -> None:
        self.status, self.observer = status, observer
        headers = {"Authorization": f"Bearer {status['api_key']}"}
        self.http = httpx2.Client(base_url=status["base_url"], headers=headers, timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    @cached_property
    def topic(self) -> ChannelTopic:
        """Connects when it is first needed."""
        return ChannelTopic(self.status)

    def get(self, path: str, **params: Any) -> Any:
        """What is there."""
        return _data(self.http.get(path, params=params))

    def post(self, path: str, body: Json) -> Any:
        """Do it once, however often it is sent."""
        return _data(self.send(path, body))

    def send(self, path: str, body: Json, **headers: str) -> httpx2.Response:
        """The same, with whatever is answered."""
        return self.http.post(path, json=body, headers={"Idempotency-Key": new_id("idem")} | headers)

    def sell(self, name: str, amount: int, source: str = "checkout", reference: str | None = None) -> Json:
        """An order with one line."""
        lines = [{"name": name, "quantity": 1, "unit_price_money": euros(amount)}]
        body = {"source": source, "currency": "EUR", "external_reference": reference, "line_items": lines}
        order: Json = self.post("/v1/orders", body)
        return order

    def pay(self, order: Json, **body: Any) -> Json:
        """In one call; the outcome says what came of it."""
        outcome: Json = self.post(f"/v1/orders/{order['order_id']}/pay", body)
        return outcome

    def intend(self, order: Json, **body: Any) -> Json:
        """A payment intent."""
        intent: Json = self.post(f"/v1/orders/{order['order_id']}/payment-intents", body)
        return intent

    def act(self, intent: Json, action: str, **body: Any) -> Json:
        """The intent after its next step."""
        after: Json = self.post(f"/v1/payment-intents/{intent['payment_intent_id']}/{action}", body)
        return after

    def read(self, order: Json, **params: Any) -> Json:
        """The order as it is, or as it was."""
        found: Json = self.get(f"/v1/orders/{order['order_id']}", **params)
        return found

    def wait_for(self, order: Json, payment_status: str) -> Json:
        """The order once it has that payment status."""

        def reached() -> Json | None:
            found = self.read(order)
            return found if found["payment_status"] == payment_status else None

        return eventually(reached, f"the order to be {payment_status}")

    def capture_told(self, amount: int, **which: str) -> Json:
        """What the channel says of a card payment; `which` names its order."""
        return {
            **which,
            "payment_reference": new_id("psp"),
            "amount_money": euros(amount),
            "method": {"type": "card", "brand": "visa", "last4": "4242"},
            "source": "checkout",
            "captured_at": utc_now().isoformat(),
        }

    def tell_end(self, order: Json, payment_status: str, collected: int) -> None:
        """Check how the order ended, and read its history."""
        found = self.read(order)
        expect(found["payment_status"], payment_status, "The order's payment status")
        expect(found["settlement"]["captured_money"], euros(collected), "What was collected")
        expect(found["leases"], [], "What is still reserved")
        tell_order(found)
        history = self.get(f"/v1/orders/{order['order_id']}/activities", page_size=100)
        for entry in reversed(history):
            console.print(f"  [dim]{entry['recorded_at'][11:19]}[/dim]  {entry['summary']}")


def tell_order(order: Json) -> None:
    """The order in a line."""
    settlement = order["settlement"]
    say(
        f"order {order['number']}, version {order['version']}: [bold]{order['payment_status']}[/bold], "
        f"collected {money(settlement['net_collected_money'])}, owed {money(settlement['outstanding_money'])}"
    )


def card(goes: str = "approve") -> Json:
    """A card of the sandbox, whose token says how it goes."""
    return {"type": "card", "token": f"sandbox_{goes}"}


def _data(answer: httpx2.Response) -> Any:
    if not answer.is_success:
        raise RuntimeProblem(f"{answer.request.method} {answer.url} answered {answer.status_code}: {answer.text}")
    return answer.json()["data"]
