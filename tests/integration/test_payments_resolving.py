"""Unmatched money on a real database: whoever decides about it, and however many at once, it comes to one end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from services.payments import matching, resolving
from services.payments.answers import settle_all
from services.payments.core.proposals import clues_of
from services.payments.core.resolving import Attach, Decision, Denied, Dismiss, Return, Wish
from services.payments.core.state import Arrival, Channel, Item, KnownOrder
from services.payments.core.taking import Taken
from services.payments.ingestion import take_in
from services.payments.jobs import MarkOverdueJob, MeasureJob
from services.payments.resolving import Place
from services.payments.store import orders, unmatched
from services.payments.store.unmatched import ItemFilter
from shared.clock import utc_now
from shared.contracts.channels import CHANNEL_EVENTS
from shared.contracts.model import Actor, PositiveMoney
from shared.contracts.orders import CommandAccepted, CommandRefused
from shared.contracts.payments import UnmatchedMoney
from shared.ids import new_id
from shared.outbox import OUTBOX_TABLE
from shared.postgres import Pool, transaction
from shared.settings import Settings
from tests.schemas import schema_with
from tests.servers import Servers

pytestmark = pytest.mark.servers

CHANNEL = Channel("chn_web", "mer_1", "test", "active", "checkout")
NOW = utc_now()
ORDER = KnownOrder("ord_1", "mer_1", "test", "web-1", "EUR", "open", 9000, 1, placed_at=NOW)
BACK = Return("transfer-1")


@pytest.fixture
async def pool(servers: Servers) -> AsyncIterator[Pool]:
    first = import_module("services.payments.migrations.versions.0001_channels")
    later = import_module("services.payments.migrations.versions.0004_ends_of_unmatched_money")
    intents = import_module("services.payments.migrations.versions.0005_payment_intents")
    tables = (first.CHANNEL_PAYMENTS, first.CHANNEL_EVENTS, first.KNOWN_ORDERS, first.UNMATCHED_MONEY)
    tables = (
        *tables,
        later.UNMATCHED_MONEY,
        later.KNOWN_ORDERS,
        intents.PAYMENT_INTENTS,
        intents.PAYMENT_ATTEMPTS,
        OUTBOX_TABLE,
    )
    async with schema_with(servers.database_url, ";".join(tables)) as pool:
        async with transaction(pool) as connection:
            await orders.save_orders(connection, [ORDER, replace(ORDER, order_id="ord_2")])
        yield pool


async def items(pool: Pool) -> list[UnmatchedMoney]:
    return await unmatched.list_items(pool, ItemFilter("mer_1", "test"), None, 20)


async def take(pool: Pool, **more: Any) -> Taken:
    """A capture of 90.00."""
    body = {"external_reference": "web-9", "payment_reference": "psp-1"}
    event = CHANNEL_EVENTS["channel.payment.captured.v1"].model_validate(
        body | {"amount_money": {"amount": 9000, "currency": "EUR"}} | more
    )
    async with transaction(pool) as connection:
        [taken] = await take_in(connection, [Arrival(CHANNEL, new_id("evt"), event)], NOW)
    return taken


async def unknown(pool: Pool, **more: Any) -> str:
    """The item of 90.00 that fits no order."""
    taken = await take(pool, **more)
    assert taken.item is not None
    return taken.item.money.unmatched_money_id


def wish(part: int | None = None) -> Wish:
    by = Actor(type="key", id="key_1")
    return Wish(by, None if part is None else PositiveMoney(amount=part, currency="EUR"))


async def decided(pool: Pool, name: str, decision: Decision, part: int | None = None, merchant: str = "mer_1") -> Any:
    async with transaction(pool) as connection:
        return await resolving.resolve(connection, Place(name, merchant, "test"), wish(part), decision, NOW)


async def attach(
    pool: Pool, name: str, order_id: str = "ord_1", part: int | None = None, merchant: str = "mer_1"
) -> Any:
    return await decided(pool, name, Attach(order_id), part, merchant)


async def give_back(pool: Pool, name: str, part: int | None = None) -> Any:
    return await decided(pool, name, BACK, part)


async def dismiss(pool: Pool, name: str, merchant: str = "mer_1") -> Any:
    return await decided(pool, name, Dismiss(), merchant=merchant)


async def reply(pool: Pool, answer: CommandAccepted | CommandRefused) -> int:
    async with transaction(pool) as connection:
        return await settle_all(connection, [answer], NOW) + await resolving.settle_all(connection, [answer], NOW)


def accepted(name: str, **facts: Any) -> CommandAccepted:
    return CommandAccepted(command_id=f"{name}.1", order_id="ord_1", order_version=2, facts=facts)


async def sent(pool: Pool) -> list[tuple[str, str, int]]:
    """Id, type and amount of the commands."""
    rows = await pool.fetch("SELECT id, type, payload FROM outbox WHERE aggregatetype = 'orders.commands' ORDER BY seq")
    return [(row["id"], row["type"], orjson.loads(row["payload"])["amount_minor"]) for row in rows]


async def told(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT id FROM outbox WHERE aggregatetype = 'payments.events' ORDER BY id")
    return [row["id"] for row in rows]


def one_of(results: Sequence[Any]) -> Item:
    """That of the one who came first; everybody else was told that it is taken."""
    [first] = [each for each in results if isinstance(each, Item)]
    codes = {each.code for each in results if isinstance(each, Denied)}
    assert codes == {"UNMATCHED_MONEY_NOT_OPEN"}
    return first


async def test_of_many_who_attach_at_once_one_does(pool: Pool) -> None:
    name = await unknown(pool)
    many = (attach(pool, name, f"ord_{1 + number % 2}") for number in range(8))
    item = one_of(await asyncio.gather(*many))
    assert await sent(pool) == [(f"{name}.1", "orders.record_capture.v1", 9000)]
    assert (await reply(pool, accepted(name)), await reply(pool, accepted(name))) == (1, 0)
    [money] = await items(pool)
    assert (money.status, money.order_id, money.version) == ("attached", item.money.attaching_to, 3)
    assert isinstance(await attach(pool, name), Denied)
    assert await told(pool) == [f"{name}.attached", f"{name}.found"]


async def test_of_many_who_attach_what_contradicts_one_does(pool: Pool) -> None:
    """There is no event to wait for: what contradicts is not kept."""
    first = await take(pool, order_id="ord_1", external_reference=None)
    told_first = first.arrival.channel_event_id
    assert await reply(pool, CommandAccepted(command_id=told_first, order_id="ord_1", order_version=2)) == 1
    name = await unknown(pool, order_id="ord_2", external_reference=None, capture_reference="c2")
    one_of(await asyncio.gather(*(attach(pool, name, f"ord_{1 + number % 2}") for number in range(8))))
    assert [each[0] for each in await sent(pool)] == [told_first, f"{name}.1"]


async def test_of_attaching_and_returning_at_once_one_is_done(pool: Pool) -> None:
    for number in range(6):
        name = await unknown(pool, payment_reference=f"psp-{number}")
        both = [attach(pool, name), give_back(pool, name)]
        done = one_of(await asyncio.gather(*(both if number % 2 else reversed(both))))
        commands = [each for each in await sent(pool) if each[0].startswith(name)]
        assert len(commands) == int(done.money.status == "attaching")
        assert (f"{name}.returned" in await told(pool)) is (done.money.status == "returned")


async def contradicted(pool: Pool, reference: str) -> str:
    """An item that says 80.00 where 90.00 counts."""
    await take(pool, payment_reference=reference, order_id="ord_1")
    wrong = {"amount": 8000, "currency": "EUR"}
    return await unknown(pool, payment_reference=reference, order_id="ord_1", amount_money=wrong)


async def test_of_attaching_returning_and_dismissing_at_once_one_is_done(pool: Pool) -> None:
    for number in range(9):
        name = await contradicted(pool, f"psp-{number}")
        three = [attach(pool, name), give_back(pool, name), dismiss(pool, name)]
        done = one_of(await asyncio.gather(*three[number % 3 :], *three[: number % 3]))
        commands = [each for each in await sent(pool) if each[0].startswith(name)]
        assert len(commands) == int(done.money.status == "attaching")
        assert (f"{name}.dismissed" in await told(pool)) is (done.money.status == "dismissed")


async def test_what_is_dismissed_stays_so_and_is_counted_no_longer(pool: Pool) -> None:
    name = await contradicted(pool, "psp-1")
    assert await dismiss(pool, name, merchant="mer_2") is None
    await MeasureJob(pool, lambda: NOW)()
    assert metric("open", kind="conflict") == 1
    assert isinstance(await dismiss(pool, name), Item)
    await take(pool, order_id="ord_1", amount_money={"amount": 8000, "currency": "EUR"})
    [money] = [item for item in await items(pool) if item.kind == "conflict"]
    assert (money.status, money.version, money.resolved_by, money.resolved_at) == ("dismissed", 2, wish().actor, NOW)
    assert await told(pool) == [f"{name}.dismissed", f"{name}.found"]
    await MeasureJob(pool, lambda: NOW)()
    assert metric("open", kind="conflict") == 0


async def test_what_an_order_refused_counts_nowhere_else_and_is_not_dismissed(pool: Pool) -> None:
    first = await take(pool, order_id="ord_1")
    command_id = first.arrival.channel_event_id
    refused = CommandRefused(command_id=command_id, order_id="ord_1", order_version=2, code="PAYMENT_REFERENCE_REUSED")
    assert await reply(pool, refused) == 1
    [money] = await items(pool)
    assert (money.kind, money.status) == ("conflict", "open")
    denied = await dismiss(pool, money.unmatched_money_id)
    assert isinstance(denied, Denied)
    assert denied.code == "MONEY_TO_PLACE"
    # The channel tells something else of it: the first can be placed, what contradicts it may be nothing.
    other = await unknown(pool, order_id="ord_1", amount_money={"amount": 8000, "currency": "EUR"})
    assert isinstance(await dismiss(pool, other), Item)
    denied = await dismiss(pool, money.unmatched_money_id)
    assert isinstance(denied, Denied)


async def test_a_capture_of_another_orders_payment_is_dismissed_once_it_was_told_right(pool: Pool) -> None:
    first = await take(pool, order_id="ord_1")
    told_first = first.arrival.channel_event_id
    assert await reply(pool, CommandAccepted(command_id=told_first, order_id="ord_1", order_version=2)) == 1
    name = await unknown(pool, order_id="ord_2", capture_reference="c2")
    denied = await dismiss(pool, name)
    assert isinstance(denied, Denied)
    assert denied.code == "MONEY_TO_PLACE"
    await take(pool, order_id="ord_1", capture_reference="c2")
    assert isinstance(await dismiss(pool, name), Item)


async def test_money_that_somebody_has_is_not_sent_to_the_order_that_appears(pool: Pool) -> None:
    """The one or the other, whichever comes first."""
    for number in range(6):
        reference = f"web-late-{number}"
        name = await unknown(pool, payment_reference=f"psp-{number}", external_reference=reference)
        appeared = replace(ORDER, order_id=f"ord_late{number}", external_reference=reference)

        async def appear(order: KnownOrder = appeared) -> Any:
            async with transaction(pool) as connection:
                await orders.save_orders(connection, [order])
                return await matching.orders_appeared(connection, [order], NOW)

        decided, by_itself = await asyncio.gather(attach(pool, name), appear())
        assert isinstance(decided, Denied) is bool(by_itself)
    assert len(await sent(pool)) == 6


async def test_parts_go_to_several_orders_and_nothing_is_lost(pool: Pool) -> None:
    name = await unknown(pool)
    both = [attach(pool, name, "ord_1", 6000), attach(pool, name, "ord_2", 5000)]
    first = one_of(await asyncio.gather(*both))
    taken = first.money.amount_money
    assert taken is not None
    assert await reply(pool, accepted(name, surplus_minor=10)) == 1
    [rest] = [item for item in await items(pool) if item.split_from == name]
    assert rest.amount_money is not None
    assert rest.amount_money.amount + taken.amount == 9000
    assert isinstance(await give_back(pool, rest.unmatched_money_id, 1), Item)
    [last] = [item for item in await items(pool) if item.split_from == rest.unmatched_money_id]
    assert isinstance(await attach(pool, last.unmatched_money_id, "ord_2"), Item)
    assert await reply(pool, accepted(last.unmatched_money_id)) == 1
    ended = await items(pool)
    assert sorted(item.status for item in ended) == ["attached", "attached", "returned"]
    assert sum(item.amount_money.amount for item in ended if item.amount_money) == 9000
    assert {item.surplus_money.amount if item.surplus_money else 0 for item in ended} == {10, 0}
    assert len([name for name in await told(pool) if name.endswith(".found")]) == 3


@pytest.mark.parametrize(("policy", "status"), [("hold", "open"), ("return", "return_due")])
async def test_what_is_overdue_is_measured_and_can_still_be_attached(pool: Pool, policy: Any, status: str) -> None:
    name = await unknown(pool)
    settings = Settings(unmatched_money_days=3, unmatched_money_policy=policy)
    for days, wanted in ((3, ("open", None)), (4, (status, NOW + timedelta(days=4)))):
        at = NOW + timedelta(days=days)
        await MarkOverdueJob(pool, lambda at=at: at, settings)()
        [money] = await items(pool)
        assert (money.status, money.overdue_at) == wanted
    await MeasureJob(pool, lambda: NOW + timedelta(days=8))()
    assert metric("overdue", kind="unknown_order") == 1
    assert [metric("older_than", days=days) for days in ("1", "7", "30")] == [1, 1, 0]
    assert isinstance(await attach(pool, name), Item)
    await reply(pool, accepted(name))
    await MeasureJob(pool, lambda: NOW)()
    assert (metric("overdue", kind="unknown_order"), metric("open", kind="unknown_order")) == (0, 0)


def metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"throughline_payments_unmatched_{name}", labels)


async def test_what_the_order_refused_can_be_attached_again(pool: Pool) -> None:
    name = await unknown(pool)
    await attach(pool, name)
    refused = CommandRefused(command_id=f"{name}.1", order_id="ord_1", order_version=2, code="CURRENCY_MISMATCH")
    assert (await reply(pool, refused), await reply(pool, refused)) == (1, 0)
    [money] = await items(pool)
    assert (money.status, money.refusal) == ("open", "CURRENCY_MISMATCH")
    await attach(pool, name, "ord_2")
    assert [each[0] for each in await sent(pool)] == [f"{name}.1", f"{name}.2"]
    assert await reply(pool, accepted(name)) == 0


async def test_another_merchants_item_and_order_are_not_there(pool: Pool) -> None:
    name = await unknown(pool)
    assert await attach(pool, name, merchant="mer_2") is None
    async with transaction(pool) as connection:
        await orders.save_orders(connection, [replace(ORDER, order_id="ord_9", merchant_id="mer_2")])
    denied = await attach(pool, name, "ord_9")
    assert isinstance(denied, Denied)
    assert denied.code == "NOT_FOUND"
    assert await sent(pool) == []


MANY = """
INSERT INTO known_orders (order_id, merchant_id, environment, external_reference, currency, status, outstanding_minor,
                          version, customer_id, placed_at, reference_key)
SELECT 'ord_many' || n, 'mer_1', 'test', n || '-2026', 'EUR', 'open', 9000, 1, 'cus_1',
       timestamptz '2026-01-01' + n * interval '1 second', '2026'
FROM generate_series(1, 20000) AS n
"""


def read_of_orders(plan: dict[str, Any]) -> float:
    """Rows that a plan's scans of orders gave."""
    here = plan["Actual Rows"] * plan["Actual Loops"] if plan.get("Relation Name") == "known_orders" else 0
    return float(here + sum(map(read_of_orders, plan.get("Plans", ()))))


async def test_however_many_orders_are_alike_few_are_read(pool: Pool) -> None:
    await pool.execute(MANY)
    await pool.execute("ANALYZE known_orders")
    arguments = ("mer_1", "test", "EUR", 9000, ["2026", "777"], "cus_1", NOW)
    explained = await pool.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {orders._FIND_CANDIDATES}", *arguments)
    assert read_of_orders(orjson.loads(explained)[0]["Plan"]) <= 3 * (orders._CANDIDATES + 1)


async def test_orders_are_found_by_what_the_money_says(pool: Pool) -> None:
    name = await unknown(pool, external_reference="WEB 0777")
    known = [
        replace(ORDER, order_id="ord_called", external_reference="shop-777", outstanding_minor=1),
        replace(ORDER, order_id="ord_owed", external_reference=None),
        replace(ORDER, order_id="ord_customer", outstanding_minor=1, customer_id="cus_1", external_reference=None),
        replace(ORDER, order_id="ord_other", outstanding_minor=1, external_reference="web-5"),
        replace(ORDER, order_id="ord_live", environment="live"),
        replace(ORDER, order_id="ord_theirs", merchant_id="mer_2", customer_id="cus_1", external_reference="777"),
    ]
    async with transaction(pool) as connection:
        await orders.save_orders(connection, known)
    item = await unmatched.read_item(pool, name, "mer_1", "test")
    assert item is not None
    clues = clues_of(item, "cus_1")
    assert clues is not None
    found = await orders.candidates(pool, item, clues)
    wanted = {"ord_1", "ord_2", "ord_called", "ord_owed", "ord_customer"}
    assert {order.order_id for order in found} == wanted
    assert await orders.customer_of(pool, item) is None
    await pool.execute("UPDATE channel_payments SET order_id = 'ord_customer'")
    assert await orders.customer_of(pool, item) == "cus_1"
