"""Somebody else's object can also be named in a body, a query or a header, where no path says whose it is."""

import json

import httpx2
import pytest
from aiokafka import AIOKafkaProducer

from shared.ids import new_id
from tests.access.entries import ENTRIES
from tests.access.matrix import Callers
from tests.access.orders import ORDER
from tests.access.payments import SINGLE, captured
from tests.people import Json
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers

OUTSIDERS = ("stranger", "live", "other_app")
LISTS = [name for name, entry in ENTRIES.items() if entry.lists and "{" not in name and not entry.both_environments]


@pytest.fixture(params=OUTSIDERS)
def outsider(request: pytest.FixtureRequest, callers: Callers) -> httpx2.AsyncClient:
    found: httpx2.AsyncClient = getattr(callers, request.param)
    return found


async def made(client: httpx2.AsyncClient, path: str, body: Json, **headers: str) -> Json:
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()["data"]
    return found


async def seen(client: httpx2.AsyncClient, path: str) -> Json:
    found: Json = (await client.get(path)).raise_for_status().json()["data"]
    return found


def naming(order: Json, channel_id: str) -> list[Json]:
    """What a channel says of the order, by its id and by what its merchant calls it."""
    by_id, by_reference = captured(channel_id), captured(channel_id)
    by_id["data"] |= {"order_id": order["order_id"], "payment_reference": "psp-id"}
    by_reference["data"] |= {"external_reference": order["external_reference"], "payment_reference": "psp-reference"}
    del by_reference["data"]["order_id"], by_id["subject"], by_reference["subject"]
    return [by_id | {"id": "by-id"}, by_reference | {"id": "by-reference"}]


async def unmatched_of(client: httpx2.AsyncClient, channel_id: str, count: int) -> list[Json]:
    async def found() -> list[Json]:
        listed = await client.get("/v1/unmatched-money", params={"channel_id": channel_id})
        items: list[Json] = listed.raise_for_status().json()["data"]
        return items if len(items) == count else []

    items: list[Json] = await eventually(found)
    return items


@pytest.mark.parametrize("by", ["http", "kafka"])
async def test_a_channel_pays_no_order_of_others(
    callers: Callers, outsider: httpx2.AsyncClient, stack: Stack, by: str
) -> None:
    order = await made(callers.owner, "/v1/orders", ORDER | {"external_reference": new_id("web")})
    channel = await made(outsider, "/v1/channels", {"name": "Elsewhere"})
    events = naming(order, channel["channel_id"])
    if by == "http":
        for event in events:
            answer = await outsider.post("/v1/channel-events", json=event, **SINGLE)
            assert answer.status_code == 202, answer.text
    else:
        access = channel["kafka"]
        async with AIOKafkaProducer(
            bootstrap_servers=access["bootstrap_servers"],
            security_protocol=access["security_protocol"],
            sasl_mechanism=access["sasl_mechanism"],
            sasl_plain_username=access["username"],
            sasl_plain_password=access["password"],
        ) as kafka:
            headers = [("content-type", b"application/cloudevents+json")]
            for event in events:
                await kafka.send_and_wait(channel["topic"], json.dumps(event).encode(), headers=headers)
    items = await unmatched_of(outsider, channel["channel_id"], len(events))
    assert {item["kind"] for item in items} == {"unknown_order"}
    assert await seen(callers.owner, f"/v1/orders/{order['order_id']}") == order


async def test_no_order_is_for_a_customer_of_others(callers: Callers, outsider: httpx2.AsyncClient) -> None:
    customer = await made(callers.owner, "/v1/customers", {"name": "Ada Lovelace"})
    named = {"customer_id": customer["customer_id"]}
    own = await made(outsider, "/v1/orders", ORDER)
    refused = [
        await outsider.post("/v1/orders", json=ORDER | named),
        await outsider.patch(f"/v1/orders/{own['order_id']}", json=named),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["detail"]) == (400, "There is no such customer.")
    assert await seen(outsider, f"/v1/orders/{own['order_id']}") == own


async def test_nobody_is_given_the_answer_to_a_request_of_others(
    callers: Callers, outsider: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": new_id("idem")}
    order = await made(callers.owner, "/v1/orders", ORDER, **key)
    other = await outsider.post("/v1/orders", json=ORDER, headers=key)
    assert (other.status_code, "Idempotent-Replayed" in other.headers) == (201, False)
    assert other.json()["data"]["order_id"] != order["order_id"]

    note, text = f"/v1/orders/{order['order_id']}/notes", {"text": "Call first."}
    key = {"Idempotency-Key": new_id("idem")}
    assert (await callers.owner.post(note, json=text, headers=key)).is_success
    answer = await outsider.post(note, json=text, headers=key)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("name", LISTS)
async def test_a_page_token_shows_nothing_of_others(callers: Callers, name: str) -> None:
    entry, path = ENTRIES[name], name.removeprefix("GET ")
    ids = {(await entry.make(callers)).path[entry.lists or ""] for _ in range(3)}
    first = await callers.owner.get(path, params={"page_size": 1})
    token = first.raise_for_status().json()["next_page_token"]
    rest = await callers.owner.get(path, params={"page_token": token, "page_size": 100})
    assert any(one in rest.text for one in ids), "so the token leads to them"
    for who in OUTSIDERS:
        answer = await getattr(callers, who).get(path, params={"page_token": token, "page_size": 100})
        assert answer.status_code in (200, 403), answer.text
        assert not any(one in answer.text for one in ids), who
