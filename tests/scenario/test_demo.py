"""The README's first command, told against the running services: every step of the story checks itself."""

import asyncio
import secrets

import pytest

from deploy import demo
from shared.ids import new_id
from shared.kafka_admin import KafkaAdmin
from shared.topics import ORDERS_EVENTS
from tests.stack import Stack, Tenant

pytestmark = pytest.mark.servers


async def test_a_channel_pays_an_order(stack: Stack, tenant: Tenant, capsys: pytest.CaptureFixture[str]) -> None:
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
    for line in ("partially_paid", "NOT_A_CLOUDEVENT", "nothing changed: still version 3", "as it was at version 1"):
        assert line in told
    orders = (await tenant.http.get("/v1/orders")).json()["data"]
    assert [order["payment_status"] for order in orders] == ["paid", "paid"]
