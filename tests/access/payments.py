"""The routes of channels and of unmatched money."""

from tests.access.matrix import Callers, Entry, Made
from tests.people import Json
from tests.stack import eventually


async def channel(callers: Callers) -> Made:
    made = await callers.owner.post("/v1/channels", json={"name": "Web shop"})
    assert made.status_code == 201, made.text
    channel_id = made.json()["data"]["channel_id"]
    return Made({"channel_id": channel_id}, f"/v1/channels/{channel_id}")


async def unmatched(callers: Callers) -> Made:
    """Money for an order that nobody has."""
    made = await channel(callers)
    sent = await callers.owner.post("/v1/channel-events", json=captured(made.path["channel_id"]), **SINGLE)
    assert sent.status_code == 202, sent.text

    async def found() -> str | None:
        query = {"channel_id": made.path["channel_id"]}
        items = (await callers.owner.get("/v1/unmatched-money", params=query)).json()["data"]
        return items[0]["unmatched_money_id"] if items else None

    item: str = await eventually(found)
    return Made({"unmatched_money_id": item}, f"/v1/unmatched-money/{item}")


async def attachable(callers: Callers) -> Made:
    """The same, with an order of the owner's that it may belong to."""
    made = await unmatched(callers)
    order_id = (await order(callers)).path["order_id"]

    async def known() -> bool:
        proposals = (await callers.owner.get(str(made.witness))).json()["data"]["proposals"]
        return any(each["order_id"] == order_id for each in proposals)

    await eventually(known)
    return Made(made.path, made.witness, {"order_id": order_id})


async def order(callers: Callers) -> Made:
    """An order of one euro."""
    line = {"name": "Thing", "quantity": 1, "unit_price_money": {"amount": 100, "currency": "EUR"}}
    made = await callers.owner.post("/v1/orders", json={"currency": "EUR", "line_items": [line]})
    assert made.status_code == 201, made.text
    order_id = made.json()["data"]["order_id"]
    return Made({"order_id": order_id}, f"/v1/orders/{order_id}", {})


async def payable(callers: Callers) -> Made:
    """The same, and what to pay it with."""
    made = await order(callers)
    return Made(made.path, made.witness, {"method": EXTERNAL})


async def order_in_body(callers: Callers) -> Made:
    """The same, for a route that is sent its id."""
    made = await order(callers)
    return Made({}, made.witness, dict(made.path))


async def intent(callers: Callers, **fields: Json) -> Made:
    """A wish to collect on an order."""
    order_id = (await order(callers)).path["order_id"]
    made = await callers.owner.post(f"/v1/orders/{order_id}/payment-intents", json={"method": EXTERNAL, **fields})
    assert made.status_code == 201, made.text
    path = {"payment_intent_id": made.json()["data"]["payment_intent_id"]}
    return Made(path, f"/v1/payment-intents/{path['payment_intent_id']}", {})


async def held(callers: Callers) -> Made:
    """Money that is held and may be captured."""
    return await intent(callers, capture_method="manual", confirm=True)


async def attempted(callers: Callers) -> Made:
    """An order on which money was held."""
    made = await held(callers)
    order_id = (await callers.owner.get(str(made.witness))).json()["data"]["order_id"]
    return Made({"order_id": order_id}, made.witness)


async def contradicted(callers: Callers) -> Made:
    """Money that was told of with two amounts, of which the first counts."""
    made = await unmatched(callers)
    channel_id = (await callers.owner.get(str(made.witness))).json()["data"]["channel_id"]
    told = captured(channel_id)
    told["data"]["amount_money"] = {"amount": 99, "currency": "EUR"}
    sent = await callers.owner.post("/v1/channel-events", json=told, **SINGLE)
    item = sent.json()["data"][0]["unmatched_money_id"]
    return Made({"unmatched_money_id": item}, f"/v1/unmatched-money/{item}")


async def event(callers: Callers) -> Made:
    """An event of the owner's channel; from others it is one of a channel that is not theirs."""
    made = await channel(callers)
    return Made({}, made.witness, captured(made.path["channel_id"]))


def captured(channel_id: str) -> Json:
    return {
        "specversion": "1.0",
        "id": "evt-1",
        "type": "channel.payment.captured.v1",
        "source": f"/channels/{channel_id}",
        "subject": "ord_00000000000000000000000000",
        "time": "2026-11-21T12:00:00Z",
        "data": {
            "order_id": "ord_00000000000000000000000000",
            "payment_reference": "psp-1",
            "amount_money": {"amount": 100, "currency": "EUR"},
            "method": {"type": "card"},
            "source": "checkout",
            "captured_at": "2026-11-21T12:00:00Z",
        },
    }


EXTERNAL: Json = {"type": "external", "reference": "slip-1"}
SINGLE: Json = {"headers": {"Content-Type": "application/cloudevents+json"}}

ENTRIES = {
    "POST /v1/payment-intents": Entry("payments.write", order_in_body),
    "GET /v1/payment-intents": Entry("payments.read", intent, lists="payment_intent_id"),
    "GET /v1/payment-intents/{payment_intent_id}": Entry("payments.read", intent),
    "POST /v1/payment-intents/{payment_intent_id}/confirm": Entry("payments.write", intent),
    "POST /v1/payment-intents/{payment_intent_id}/capture": Entry("payments.write", held),
    "POST /v1/payment-intents/{payment_intent_id}/cancel": Entry("payments.write", held),
    "POST /v1/payment-intents/{payment_intent_id}/reconcile": Entry("payments.write", intent),
    "POST /v1/orders/{order_id}/payment-intents": Entry("payments.write", order),
    "POST /v1/orders/{order_id}/pay": Entry("payments.write", payable),
    "GET /v1/orders/{order_id}/payment-attempts": Entry("payments.read", attempted),
    "POST /v1/channels": Entry("payments.write", body={"name": "Web shop"}),
    "GET /v1/channels": Entry("payments.read", channel, lists="channel_id"),
    "GET /v1/channels/{channel_id}": Entry("payments.read", channel),
    "PATCH /v1/channels/{channel_id}": Entry("payments.write", channel, {"name": "Shop"}),
    "POST /v1/channels/{channel_id}/rotate-credentials": Entry("payments.write", channel),
    "DELETE /v1/channels/{channel_id}": Entry("payments.write", channel),
    "POST /v1/channel-events": Entry("payments.write", event, options=SINGLE),
    "GET /v1/unmatched-money": Entry("payments.read", unmatched, lists="unmatched_money_id"),
    "GET /v1/unmatched-money/{unmatched_money_id}": Entry("payments.read", unmatched),
    "POST /v1/unmatched-money/{unmatched_money_id}/attach": Entry("payments.write", attachable),
    "POST /v1/unmatched-money/{unmatched_money_id}/return": Entry(
        "payments.write", unmatched, {"reference": "transfer-1"}
    ),
    "POST /v1/unmatched-money/{unmatched_money_id}/dismiss": Entry("payments.write", contradicted, {}),
}
