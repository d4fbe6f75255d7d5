"""The routes of events and plugin topics."""

from tests.access import orders
from tests.access.matrix import Callers, Entry, Made
from tests.stack import eventually

_TOPIC = "/v1/plugin-topic"


async def event(callers: Callers) -> Made:
    """What happened to a new order."""
    order = await orders.order(callers)

    async def told() -> str | None:
        query = {"order_id": order.path["order_id"]}
        events = (await callers.owner.get("/v1/events", params=query)).json()["data"]
        return events[0]["event_id"] if events else None

    event_id: str = await eventually(told)
    return Made({"event_id": event_id}, f"/v1/events/{event_id}")


async def followed(callers: Callers) -> Made:
    """A stream that goes on after an event of the owner's; there is a next one."""
    made, order = await event(callers), await orders.order(callers)
    return Made({"order_id": order.path["order_id"]}, made.witness, query={"after": made.path["event_id"]})


async def replay(callers: Callers) -> Made:
    """Of the owner's app; it has finished, for one runs at a time."""

    async def begun() -> str | None:
        asked = await callers.own_app.post(f"{_TOPIC}/replay", json=REPLAY)
        return asked.json()["data"]["replay_id"] if asked.status_code == 202 else None

    replay_id: str = await eventually(begun)

    async def finished() -> bool:
        answer = await callers.own_app.get(f"{_TOPIC}/replays/{replay_id}")
        return bool(answer.json()["data"]["status"] != "running")

    await eventually(finished)
    return Made({"replay_id": replay_id})


REPLAY = {"from": "2026-11-21T00:00:00Z"}

ENTRIES = {
    "GET /v1/events": Entry("orders.read", event, lists="event_id"),
    "GET /v1/events/{event_id}": Entry("orders.read", event),
    "GET /v1/events/stream": Entry("orders.read", followed, endless=True, unknown=(400, "VALIDATION_FAILED")),
    f"GET {_TOPIC}": Entry("orders.read", apps_only=True),
    f"POST {_TOPIC}/rotate-credentials": Entry("orders.read", apps_only=True),
    f"GET {_TOPIC}/replays/{{replay_id}}": Entry("orders.read", replay, apps_only=True),
    f"POST {_TOPIC}/replay": Entry("orders.read", replay, REPLAY, apps_only=True),
}
