"""The sandbox's ledger against the orders: differences that were planted are found, by the command and by the job."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from deploy.local.problem import RuntimeProblem
from deploy.reconcile.report import Report
from deploy.reconcile.run import reconcile
from deploy.reconcile.sides import Sides
from services.payments.connectors.sandbox_http import HttpAcquirer
from services.payments.core.reconciling import Difference
from services.payments.reconciling import DIFFERENCES, WHOLE_FOR, ReconcileJob
from services.payments.store import reconciliations
from shared.clock import utc_now
from shared.contracts.order_commands import RecordCapture, RecordRefund
from shared.contracts.order_parts import Method, Tender
from shared.contracts.sandbox import SandboxRequest
from shared.faults import Transient
from shared.ids import new_id
from shared.postgres import Pool
from tests.integration.test_payment_intents import act, card, intent_for, money, order, order_of, pay
from tests.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.servers


@dataclass
class Clock:
    """Minutes later, so that nothing is still on its way."""

    ahead: timedelta = timedelta(minutes=3)

    def __call__(self) -> Any:
        return utc_now() + self.ahead


@dataclass
class Scene:
    """A merchant with orders on which all kinds of money moved, and both ways to compare."""

    stack: Stack
    shop: Tenant
    job: ReconcileJob
    clock: Clock
    ledger: HttpAcquirer
    pool: Pool

    async def compared(self) -> Report:
        """By the command line."""
        sides = Sides(self.stack.base_url, self.shop.api_key, self.stack.base_url, self.stack.settings.sandbox.secret)

        def run() -> Report:
            with sides:
                return reconcile(sides, lambda _what, _number: None)

        return await asyncio.to_thread(run)

    async def found(self) -> list[Difference]:
        """By the job, once it has run."""
        await self.job()
        found = self.job.found(self.clock())
        assert DIFFERENCES._value.get() == len(found)
        return [difference for merchant_id, difference in found if merchant_id == self.shop.merchant_id]

    async def take(self, order_id: str, amount: int) -> str:
        """Money moves at the acquirer, and nobody is told; the payment's name there."""
        outcome = await self.ledger.ask(
            SandboxRequest(
                merchant_id=self.shop.merchant_id,
                environment="test",
                attempt_id=new_id("att"),
                operation="authorize",
                amount_minor=amount,
                currency="EUR",
                token="sandbox_approve",
                order_id=order_id,
                payment_intent_id="pi_planted",
            )
        )
        assert outcome.reference is not None
        return outcome.reference

    async def tell(self, order_id: str, reference: str, amount: int) -> None:
        """The order is told of a card payment as by an intent, and both sides have heard of it."""
        tender = Tender(source="api", method=Method(type="card"), payment_intent_id="pi_planted")
        before = (await order(self.shop, order_id))["version"]
        command = RecordCapture(
            payment_id=new_id("pay"), payment_reference=reference, amount_minor=amount, currency="EUR", tender=tender
        )
        await self.stack.command(self.shop, order_id, command)

        async def heard() -> bool:
            found = await self.pool.fetchval("SELECT max(version) FROM order_facts WHERE order_id = $1", order_id)
            return found is not None and found > before

        await eventually(heard)


@asynccontextmanager
async def staged(stack: Stack) -> AsyncIterator[Scene]:
    pool = Pool(stack.settings.database_url.get_secret_value(), "payments", 2)
    await pool.open()
    ledger, clock = HttpAcquirer(stack.base_url, stack.settings.sandbox.secret), Clock()
    yield Scene(stack, await stack.tenant(), ReconcileJob(pool, clock, ledger), clock, ledger, pool)
    await ledger.close()
    await pool.close()


@pytest.fixture
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    async with staged(stack) as made:
        yield made


async def lively(scene: Scene) -> str:
    """Money moves in every way that there is; the order that is left with something to pay."""
    shop = scene.shop
    await pay(shop, await order_of(shop), method=card())
    await pay(shop, await order_of(shop), method=card("sandbox_decline_lost_card"))
    await pay(shop, await order_of(shop), method={"type": "cash"})
    held = await intent_for(shop, await order_of(shop), method=card(), capture_method="manual", confirm=True)
    await act(shop, held, "capture", amount_money=money(2000))
    await act(shop, held, "capture", amount_money=money(500))
    await act(shop, held, "cancel")
    await intent_for(shop, await order_of(shop), method=card(), capture_method="manual", confirm=True)
    last = await order_of(shop, 10_000)
    half = {"method": card("sandbox_partial_approval"), "completion_behavior": "partial_payment"}
    await pay(shop, last, **half)
    return last


async def heard_of(scene: Scene, number: int) -> None:
    """Payments knows so many facts of the merchant's orders."""

    async def heard() -> bool:
        query = "SELECT count(*) FROM order_facts WHERE merchant_id = $1"
        return bool(await scene.pool.fetchval(query, scene.shop.merchant_id) == number)

    await eventually(heard)


async def test_where_nothing_is_wrong_nothing_differs(scene: Scene) -> None:
    await lively(scene)
    report = await scene.compared()
    assert (report.movements, report.payments, report.orders) == (7, 4, 6)
    assert report.differences == ()
    await heard_of(scene, 7)
    assert await scene.found() == []


async def test_what_differs_is_found_with_the_records_of_both_sides(scene: Scene) -> None:
    order_id = await lively(scene)
    untold = await scene.take(order_id, 700)
    await scene.tell(order_id, "sbp_never", 600)
    more = await scene.take(order_id, 500)
    await scene.tell(order_id, more, 499)
    report = await scene.compared()
    by_reference = {each.reference: each for each in report.differences}
    assert by_reference.keys() == {untold, "sbp_never", more}
    assert {name: (each.ledger["captured"], each.orders["captured"]) for name, each in by_reference.items()} == {
        untold: (700, 0),
        "sbp_never": (0, 600),
        more: (500, 499),
    }
    [movement] = by_reference[more].movements
    [payment] = by_reference[more].payments
    assert (movement["kind"], movement["amount"], payment["captured"]) == ("sale", 500, 499)
    assert movement["made_at"]
    assert payment["updated_at"]
    assert by_reference["sbp_never"].movements == by_reference[untold].payments == []
    told = StringIO()
    report.tell(Console(file=told, width=200))
    assert "3 differences." in told.getvalue()
    assert "the order says   held 0.00 EUR, captured 4.99 EUR" in told.getvalue()
    assert json.loads(json.dumps(report.for_programs()))["differences"][0]["order_id"] == order_id


async def test_what_a_person_gave_back_elsewhere_is_told_and_is_no_difference(scene: Scene) -> None:
    order_id = await order_of(scene.shop)
    await pay(scene.shop, order_id, method=card())
    await give_back(scene, order_id, "transfer-1", 700, Method(type="external"))
    await heard_of(scene, 1)
    report = await scene.compared()
    assert report.differences == ()
    [told] = report.elsewhere
    assert (told["order_id"], told["refund_reference"], told["amount"]) == (order_id, "transfer-1", 700)
    text = StringIO()
    report.tell(Console(file=text, width=200))
    assert (
        f"{order_id}, payment {told['reference']}: 7.00 EUR was given back elsewhere (transfer-1)." in text.getvalue()
    )
    assert await scene.found() == []
    await give_back(scene, order_id, "sbm_never", 300, Method(type="card"))
    await heard_of(scene, 2)
    assert [each.orders["refunded"] for each in (await scene.compared()).differences] == [300]
    assert [each.order.refunded_minor for each in await scene.found()] == [300]


async def test_a_refund_that_the_bank_sends_back_is_told_to_its_order_and_is_unmatched_again(scene: Scene) -> None:
    shop = scene.shop
    order_id = await order_of(shop)
    late = card("sandbox_refund_fails_late")
    held = await intent_for(shop, order_id, method=late, capture_method="manual", confirm=True)
    # What another till took meanwhile makes the card's money too much.
    await scene.tell(order_id, await scene.take(order_id, 5000), 5000)
    await act(shop, held, "capture")
    [surplus] = await unmatched_of(scene, order_id)
    path = f"/v1/unmatched-money/{surplus['unmatched_money_id']}/return"
    returned = await shop.http.post(path, json={"through_processor": True, "note": "Paid twice"})
    assert returned.json()["data"]["status"] == "returned", returned.text
    assert (await order(shop, order_id))["payment_status"] == "paid"

    async def found_out() -> Any:
        await act(shop, held, "reconcile")
        return len(await unmatched_of(scene, order_id)) == 2

    await eventually(found_out)
    again, ended = await unmatched_of(scene, order_id)
    assert (ended["status"], ended["replaced_by"]) == ("returned", again["unmatched_money_id"])
    assert (again["status"], again["refusal"], again["amount_money"]) == ("open", "refund_failed", money(5000))

    async def overpaid() -> bool:
        return bool((await order(shop, order_id))["payment_status"] == "overpaid")

    await eventually(overpaid)
    assert (await order(shop, order_id))["settlement"]["credit_money"] == money(5000)
    # An authorization, two captures, a refund, and its way back.
    await heard_of(scene, 5)
    assert (await scene.compared()).differences == ()
    assert await scene.found() == []


async def unmatched_of(scene: Scene, order_id: str) -> Any:
    """The newest first."""
    return (await scene.shop.http.get("/v1/unmatched-money", params={"order_id": order_id})).json()["data"]


async def give_back(scene: Scene, order_id: str, reference: str, amount: int, method: Method) -> None:
    """The order is told that money of its only payment went back, and both sides have heard of it."""
    before = await order(scene.shop, order_id)
    command = RecordRefund(
        refund_id=new_id("ref"),
        refund_reference=reference,
        payment_id=before["payments"][0]["payment_id"],
        amount_minor=amount,
        currency="EUR",
        effect="reopen_balance",
        tender=Tender(method=method),
    )
    await scene.stack.command(scene.shop, order_id, command)

    async def heard() -> bool:
        query = "SELECT version FROM known_orders WHERE order_id = $1"
        return int(await scene.pool.fetchval(query, order_id)) > before["version"]

    await eventually(heard)


async def test_the_job_counts_what_differs_until_it_does_no_more(scene: Scene) -> None:
    order_id = await lively(scene)
    await heard_of(scene, 7)
    assert await scene.found() == []
    untold = await scene.take(order_id, 700)
    await scene.tell(order_id, "sbp_never", 600)
    more = await scene.take(order_id, 500)
    await scene.tell(order_id, more, 499)
    found = {each.reference: (each.ledger.captured_minor, each.order.captured_minor) for each in await scene.found()}
    assert found == {untold: (700, 0), "sbp_never": (0, 600), more: (500, 499)}
    scene.clock.ahead += timedelta(days=1)
    assert len(await scene.found()) == 3
    await scene.tell(order_id, untold, 700)
    assert {each.reference for each in await scene.found()} == {"sbp_never", more}


async def test_another_process_goes_on_where_one_has_stopped(scene: Scene) -> None:
    order_id = await lively(scene)
    await heard_of(scene, 7)
    untold = await scene.take(order_id, 700)
    assert [each.reference for each in await scene.found()] == [untold]
    tenant = (scene.shop.merchant_id, "test")
    compared_to = (await reconciliations.marks(scene.pool, tenant)).compared_to
    assert compared_to > utc_now() - timedelta(minutes=3)
    # Longer than anything is looked back: what differed is known from the database.
    scene.clock.ahead = timedelta(days=2)
    scene.job = ReconcileJob(scene.pool, scene.clock, scene.ledger)
    assert [each.reference for each in await scene.found()] == [untold]
    await scene.tell(order_id, untold, 700)
    assert await scene.found() == []
    assert await reconciliations.differing(scene.pool, tenant, "", 10) == []


async def test_what_agrees_for_a_month_is_summed_up_and_still_compared(scene: Scene) -> None:
    order_id = await lively(scene)
    await heard_of(scene, 7)
    assert await scene.found() == []
    scene.clock.ahead = WHOLE_FOR + timedelta(days=1)
    assert await scene.found() == []
    # Two captures are one fact now; what was held and let go of them is none, what is held still stays as it was told.
    kinds = await scene.pool.fetch(
        "SELECT kind, amount_minor FROM order_facts WHERE merchant_id = $1 ORDER BY kind, amount_minor",
        scene.shop.merchant_id,
    )
    assert [tuple(row) for row in kinds] == [
        ("authorized", 5000),
        ("captured", 2500),
        ("captured", 5000),
        ("captured", 5000),
    ]
    untold = await scene.take(order_id, 700)
    # The job's clock is a month ahead of the acquirer's, so it is to compare everything once more.
    await scene.pool.execute("DELETE FROM reconciliations WHERE merchant_id = $1", scene.shop.merchant_id)
    assert [each.reference for each in await scene.found()] == [untold]


async def test_what_moved_just_now_is_not_counted_yet(scene: Scene) -> None:
    scene.clock.ahead = timedelta()
    await scene.take(await lively(scene), 700)
    assert await scene.found() == []
    scene.clock.ahead = timedelta(minutes=3)
    assert len(await scene.found()) == 1


async def test_a_ledger_that_cannot_be_read_only_postpones_the_job(scene: Scene) -> None:
    await lively(scene)
    nowhere = HttpAcquirer("http://127.0.0.1:1", scene.stack.settings.sandbox.secret)
    with pytest.raises(Transient, match="the ledger could not be read"):
        await ReconcileJob(scene.pool, scene.clock, nowhere)()
    await nowhere.close()


async def test_live_money_is_not_the_sandboxes(stack: Stack) -> None:
    shop = await stack.tenant(environment="live")

    async def known() -> bool:
        return (await shop.http.get("/v1/auth-context")).status_code == 200

    await eventually(known)
    sides = Sides(stack.base_url, shop.api_key, stack.base_url, stack.settings.sandbox.secret)
    with pytest.raises(RuntimeProblem, match="moves no live money"):
        await asyncio.to_thread(sides.__enter__)
