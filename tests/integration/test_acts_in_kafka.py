"""What a repeat gets of a request that is done in Kafka: passwords of channels and of apps' topics."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from shared.faults import Transient
from shared.ids import new_id
from shared.kafka_admin import KafkaAdmin
from tests.apps import install
from tests.stack import Stack, Tenant

pytestmark = pytest.mark.servers


class Gate:
    """Kafka, as far as passwords go: it takes its time, or is away."""

    def __init__(self) -> None:
        self.asked, self.open = asyncio.Event(), asyncio.Event()
        self.passwords: list[str] = []
        self.away = False

    async def create(self, user: str, password: str) -> None:
        self.asked.set()
        await self.open.wait()
        if self.away:
            raise Transient("kafka is away")
        self.passwords.append(password)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    monkeypatch.setattr(KafkaAdmin, "create_scram_user", made.create)
    return made


@pytest.fixture(params=["a channel's", "an app's"])
async def rotating(
    request: pytest.FixtureRequest, stack: Stack, tenant: Tenant
) -> AsyncIterator[tuple[httpx2.AsyncClient, str]]:
    """Who rotates, and where."""
    if request.param == "a channel's":
        made = await tenant.http.post("/v1/channels", json={"name": "Web"})
        yield tenant.http, f"/v1/channels/{made.json()['data']['channel_id']}/rotate-credentials"
    else:
        app = await install(stack, new_id("app"), tenant.merchant_id)
        yield app.http, "/v1/plugin-topic/rotate-credentials"
        await app.http.aclose()


def password(answered: httpx2.Response) -> Any:
    shown = answered.json()["data"]
    return shown.get("kafka", shown.get("security"))["password"]


def code(answered: httpx2.Response) -> tuple[int, str]:
    return answered.status_code, answered.json()["code"]


async def test_a_repeat_sets_no_other_password_while_the_first_is_under_way(
    rotating: tuple[httpx2.AsyncClient, str], gate: Gate
) -> None:
    http, path = rotating
    key = {"Idempotency-Key": new_id("idem")}
    first = asyncio.create_task(http.post(path, headers=key))
    await gate.asked.wait()
    refused = await http.post(path, headers=key)
    assert (code(refused), refused.headers["Retry-After"]) == ((409, "IDEMPOTENCY_KEY_IN_PROGRESS"), "1")
    gate.open.set()
    assert gate.passwords == [password(await first)]
    again = await http.post(path, headers=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"], password(again)) == (200, "true", None)
    assert len(gate.passwords) == 1


async def test_what_came_to_nothing_can_be_repeated_at_once(
    rotating: tuple[httpx2.AsyncClient, str], gate: Gate
) -> None:
    http, path = rotating
    key = {"Idempotency-Key": new_id("idem")}
    gate.open.set()
    gate.away = True
    assert code(await http.post(path, headers=key)) == (503, "TRY_LATER")
    gate.away = False
    assert [password(await http.post(path, headers=key))] == gate.passwords


async def test_a_repeat_of_a_channels_creation_gets_its_outcome(tenant: Tenant, gate: Gate) -> None:
    body, key = {"name": "Web", "channel_id": new_id("chn")}, {"Idempotency-Key": new_id("idem")}

    async def created() -> tuple[int, str]:
        answered = await tenant.http.post("/v1/channels", json=body, headers=key)
        return answered.status_code, answered.json()["data"]["status"]

    first = asyncio.create_task(created())
    await gate.asked.wait()
    assert await created() == (202, "provisioning")
    gate.open.set()
    assert await first == await created() == (201, "active")


async def test_a_repeat_of_a_creation_that_waits_for_kafka_says_so_too(tenant: Tenant, gate: Gate) -> None:
    body, key = {"name": "Web"}, {"Idempotency-Key": new_id("idem")}
    gate.open.set()
    gate.away = True
    answers = [await tenant.http.post("/v1/channels", json=body, headers=key) for _ in range(2)]
    assert [(each.status_code, each.json()["data"]["status"]) for each in answers] == [(202, "provisioning")] * 2
    assert answers[0].json()["data"]["channel_id"] == answers[1].json()["data"]["channel_id"]
