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
    line = {"name": "Thing", "quantity": 1, "unit_price_money": {"amount": 100, "currency": "EUR"}}
    order = await callers.owner.post("/v1/orders", json={"currency": "EUR", "line_items": [line]})
    assert order.status_code == 201, order.text
    order_id = order.json()["data"]["order_id"]

    async def known() -> bool:
        proposals = (await callers.owner.get(str(made.witness))).json()["data"]["proposals"]
        return any(each["order_id"] == order_id for each in proposals)

    await eventually(known)
    return Made(made.path, made.witness, {"order_id": order_id})


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


SINGLE: Json = {"headers": {"Content-Type": "application/cloudevents+json"}}

ENTRIES = {
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
}
