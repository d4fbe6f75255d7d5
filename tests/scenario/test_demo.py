"""The README's first command, told against the running services: every step of the story checks itself."""

import asyncio
import secrets

import pytest

from deploy import demo
from deploy.demo.words import expect
from deploy.local.problem import RuntimeProblem
from shared.ids import new_id
from shared.kafka_admin import KafkaAdmin
from shared.topics import ORDERS_EVENTS
from tests.stack import Stack, Tenant

TOLD = (
    "partially_paid",
    "NOT_A_CLOUDEVENT",
    "a conflict for somebody to look at",
    "the order as it was",
    "50.00 EUR declined (insufficient funds).",
    "the rest of the authorization let go.",
    "50.00 EUR handed over, 10.00 EUR change",
    "409 ORDER_",
    "asked what became of the attempt: approved",
    "reads: Your payment was approved.",
    "somebody attaches it",
)
"""A line of each story, or more."""


@pytest.mark.servers
async def test_every_story_goes_as_it_is_told(stack: Stack, tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
    made = await tenant.http.post("/v1/channels", json={"name": "Web shop", "channel_id": new_id("chn")})
    assert made.status_code == 201, made.text
    channel = made.json()["data"]
    observer = {"username": f"observer-{new_id('x')}", "password": secrets.token_urlsafe(16)}
    admin = KafkaAdmin(stack.settings.kafka)
    await admin.create_scram_user(**observer)
    await admin.grant_read(observer["username"], ORDERS_EVENTS, observer["username"])
    login = {name: channel["kafka"][name] for name in ("username", "password")}
    status = {
        "base_url": stack.base_url,
        "api_key": tenant.api_key,
        "kafka": {
            "bootstrap_servers": stack.settings.kafka.client_bootstrap_servers,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-256",
        },
        "channel": {"channel_id": channel["channel_id"], "topic": channel["topic"], **login},
    }
    await asyncio.to_thread(demo.run, status, observer)
    told = capsys.readouterr().out
    assert [line for line in TOLD if line not in told] == []
    orders = (await tenant.http.get("/v1/orders", params={"page_size": 100})).json()["data"]
    assert sorted(order["payment_status"] for order in orders) == ["paid"] * 10 + ["partially_paid"]


def test_a_story_that_does_not_exist_is_said_to_be_none() -> None:
    with pytest.raises(RuntimeProblem, match=r"no story called nothing\. There are: channel, pay"):
        demo.run({}, {}, ["nothing"])


def test_a_story_that_goes_otherwise_is_not_told_on() -> None:
    with pytest.raises(RuntimeProblem, match="should be paid, and is unpaid"):
        expect("unpaid", "paid", "The order")
