"""The order service and Kafka go away for a while: nobody is told that a payment failed, nothing is lost, and all of
it ends as if nothing had been."""

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from litestar import Litestar
from ulid import ULID

from deploy.gateway import Gateway
from deploy.local.datadir import default_cache_dir
from deploy.local.kafka import KafkaServer
from deploy.local.ports import HOST, Ports
from deploy.local.postgres import PostgresServer
from deploy.prepare import prepare_database, prepare_topics
from deploy.services import create_service
from services.sandbox.app import SandboxProcess
from shared.contracts.sandbox import Whose
from shared.kafka import producer
from shared.outside import Outside
from tests.chaos.proxy import Proxy
from tests.integration.test_payment_intents import attempts, card, money, order, order_of
from tests.servers import Servers
from tests.stack import Stack, Tenant, eventually, serving, settings_for

pytestmark = pytest.mark.servers

_AT_ONCE = {"Prefer": "wait=1"}


@dataclass
class Cut:
    """Services whose way to Kafka can be cut, and whose commands an order worker takes that can be stopped."""

    stack: Stack
    kafka: Proxy
    sandbox: SandboxProcess
    ordering: Callable[[], AbstractAsyncContextManager[Any]]
    """The worker of the order service, for as long as the context lasts."""

    def cut_kafka(self) -> None:
        self.kafka.refusing = True
        self.kafka.cut()

    async def sales(self, shop: Tenant) -> list[int]:
        """What the acquirer collected for the merchant."""
        page = await self.sandbox.acquirer.movements(Whose(merchant_id=shop.merchant_id, environment="test"))
        return [movement.amount_minor for movement in page.movements if movement.kind == "sale"]


@pytest.fixture(scope="module")
async def cut() -> AsyncIterator[Cut]:
    """On servers of its own: those of the test run are not to be taken from others."""
    with tempfile.TemporaryDirectory(prefix="throughline-") as name:
        async with AsyncExitStack() as exits:
            yield await _started(Path(name), exits)


async def _started(directory: Path, exits: AsyncExitStack) -> Cut:
    ports, proxy_port = Ports.free(), Ports.free().kafka
    postgres = PostgresServer(directory, ports.postgres)
    kafka = KafkaServer(directory, default_cache_dir(), ports, advertised_port=proxy_port)
    kafka.begin_prepare()
    postgres.prepare()
    for server in (postgres, kafka):
        server.launch()
        exits.callback(server.wait_stopped)
        exits.callback(server.ask_to_stop)
    postgres.wait_ready()
    kafka.wait_ready()
    proxy = Proxy(proxy_port, ports.kafka)
    await proxy.start()
    exits.push_async_callback(proxy.stop)
    port, worker_port = Ports.free().postgres, Ports.free().kafka
    settings = settings_for(
        Servers(postgres.url, f"{HOST}:{proxy_port}", kafka.client_bootstrap_servers), f"http://{HOST}:{port}"
    )
    await prepare_database(settings)
    await prepare_topics(settings)
    sandbox = SandboxProcess(settings)
    apps: dict[str, Litestar] = {
        "sandbox": sandbox.app(),
        "orders": create_service("orders", settings, "api"),
        "payments": create_service("payments", settings, "all", Outside(acquirer=sandbox.acquirer)),
    }
    gateway = Gateway(apps, apps["sandbox"], settings.public_base_url)
    sender = await exits.enter_async_context(producer(settings.kafka))

    @asynccontextmanager
    async def ordering() -> AsyncIterator[None]:
        async with serving(create_service("orders", settings, "worker"), worker_port):
            yield

    async with ordering():
        # Whoever starts is ready once the orders' topics can be read.
        base_url = await exits.enter_async_context(serving(gateway, port))
    nobody = await exits.enter_async_context(httpx2.AsyncClient())
    return Cut(Stack(settings, base_url, sender, nobody), proxy, sandbox, ordering)


async def pay(shop: Tenant, order_id: str, key: str) -> httpx2.Response:
    headers = _AT_ONCE | {"Idempotency-Key": key}
    return await shop.http.post(f"/v1/orders/{order_id}/pay", json={"method": card()}, headers=headers)


async def known(shop: Tenant, order_id: str) -> None:
    """The payments have heard of the order."""

    async def heard() -> bool:
        return (await shop.http.get(f"/v1/orders/{order_id}/payment-attempts")).status_code == 200

    await eventually(heard)


async def paid_once(cut: Cut, shop: Tenant, order_id: str, key: str) -> None:
    """The same request again is answered with the payment, of which there is one."""

    async def answered() -> Any:
        answer = await pay(shop, order_id, key)
        assert answer.status_code in (200, 202, 503), answer.text
        return answer if answer.status_code == 200 else None

    answer = await eventually(answered, within_s=60)
    assert answer.json()["data"]["status"] == "succeeded"
    after = await order(shop, order_id)
    assert (after["payment_status"], after["settlement"]["captured_money"]) == ("paid", money(5000))
    assert len(await attempts(shop, order_id)) == 1


async def test_orders_are_away(cut: Cut) -> None:
    async with cut.ordering():
        shop = await cut.stack.tenant()
        order_id = await order_of(shop)
        await known(shop, order_id)
    for _ in range(2):
        waiting = await pay(shop, order_id, "away")
        assert (waiting.status_code, waiting.json()["data"]["status"]) == (202, "processing")
    assert await attempts(shop, order_id) == []
    async with cut.ordering():
        await paid_once(cut, shop, order_id, "away")
        assert await cut.sales(shop) == [5000]


async def test_an_order_that_cannot_have_been_heard_of_is_not_said_not_to_be_there(cut: Cut) -> None:
    async with cut.ordering():
        shop = await cut.stack.tenant()
        cut.cut_kafka()
        made = [await order_of(shop), f"ord_{ULID.from_timestamp(time.time() - 3_600)}"]
        for order_id in made:
            later = await pay(shop, order_id, order_id)
            assert (later.status_code, later.json()["code"]) == (503, "TRY_LATER"), later.text
            assert int(later.headers["Retry-After"]) > 0
        cut.kafka.refusing = False
        await paid_once(cut, shop, made[0], made[0])

        async def not_there() -> bool:
            return (await pay(shop, made[1], made[1])).status_code == 404

        await eventually(not_there)


async def test_kafka_is_away(cut: Cut) -> None:
    async with cut.ordering():
        shop = await cut.stack.tenant()
        first, second = await order_of(shop), await order_of(shop)
        await known(shop, second)
        cut.cut_kafka()
        for order_id in (first, second):
            waiting = await pay(shop, order_id, order_id)
            assert (waiting.status_code, waiting.json()["data"]["status"]) == (202, "processing")
        [intent] = waiting.json()["data"]["payment_intents"]
        read = await shop.http.get(f"/v1/payment-intents/{intent['payment_intent_id']}")
        assert read.json()["data"]["status"] == "processing"
        assert await cut.sales(shop) == []
        cut.kafka.refusing = False
        for order_id in (first, second):
            await paid_once(cut, shop, order_id, order_id)
        assert await cut.sales(shop) == [5000, 5000]
