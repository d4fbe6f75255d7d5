"""What must not leave the order service's hands: replies without limit, one order that stops the job for all."""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from services.orders.aggregate import MOST_BLOCKERS, OrderAggregates
from services.orders.consumers import incoming_of
from services.orders.jobs import ExpireLeasesJob
from services.orders.numbers import OrderNumbers
from shared.contracts import order_commands as c
from shared.contracts.model import Actor
from shared.envelope import Envelope
from shared.faults import Poison
from shared.postgres import Pool
from shared.processor import Incoming
from tests.unit.test_orders_money import NOW, accepted, lease, new_order
from tests.unit.test_review_consumer import Message


def test_a_refusal_among_thousands_of_leases_fits_into_a_message() -> None:
    order = new_order(5_000)
    for number in range(300):
        order = accepted(order, lease(1, number))
    aggregates = OrderAggregates(OrderNumbers(Pool("postgresql://nowhere", "orders", 2)))
    incoming: Incoming[c.OrderCommand] = Incoming(
        "cmd_1", "ord_1", lease(5_000, 999), "mer_1", "test", Actor(type="service", id="tests"), "/tests"
    )
    outcome = aggregates.decide(order, incoming, NOW, {}).outcome
    assert (outcome.code, len(outcome.blockers)) == ("ORDER_BALANCE_LEASED", MOST_BLOCKERS)


@pytest.mark.parametrize("command", [c.CreateOrder(currency="EUR"), c.OpenOrder()])
def test_whoever_names_another_tenants_order_is_not_told_its_version(command: c.OrderCommand) -> None:
    aggregates = OrderAggregates(OrderNumbers(Pool("postgresql://nowhere", "orders", 2)))
    stranger: Incoming[c.OrderCommand] = Incoming(
        "cmd_1", "ord_1", command, "mer_2", "test", Actor(type="service", id="tests"), "/tests"
    )
    outcome = aggregates.decide(new_order(), stranger, NOW, {("mer_2", "test"): deque(["1001"])}).outcome
    assert (outcome.code is not None, outcome.version) == (True, 0)


class Due(Pool):
    """A database in which two orders have leases that ran out."""

    def __init__(self) -> None:
        super().__init__("postgresql://nowhere", "orders", 2)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        return [{"order_id": name, "merchant_id": "mer_1", "environment": "test"} for name in ("ord_bad", "ord_good")]


async def test_an_order_that_cannot_be_read_keeps_no_other_lease_from_being_expired() -> None:
    done: list[str] = []

    async def run(batch: Sequence[Incoming[c.OrderCommand]]) -> list[Any]:
        if any(incoming.key == "ord_bad" for incoming in batch):
            raise ValueError("a state that nobody can read")
        done.extend(incoming.key for incoming in batch)
        return [None] * len(batch)

    await ExpireLeasesJob(Due(), run, lambda: datetime.now(UTC))()
    assert done == ["ord_good"]


def record(key: str = "ord_1", merchant_id: str = "mer_1", body: bytes = b"{}", wire_type: str = "") -> Message:
    envelope = Envelope(
        "cmd_1", wire_type or c.ExpireLeases.wire_type, "/tests", body, merchant_id=merchant_id, environment="test"
    )
    headers = [(name, text.encode()) for name, text in envelope.headers().items()]
    return Message(0, key=key.encode(), value=body, headers=headers)


FAILURE = b'{"payment_id": "pay_1", "payment_reference": "p", "currency": "EUR", "code": "\\u0000"}'


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (record(key="ord_" + "1" * 65), "KEY_MISMATCH"),
        (record(merchant_id="not a merchant"), "MISSING_TENANT"),
        (record(body=FAILURE, wire_type=c.RecordPaymentFailure.wire_type), "INVALID_BODY"),
    ],
    ids=["an id that no reader takes", "no merchant", "text that the database does not take"],
)
def test_what_can_never_be_kept_is_told_apart_before_it_spoils_a_batch(sent: Message, reason: str) -> None:
    with pytest.raises(Poison) as poison:
        incoming_of(sent)
    assert poison.value.reason == reason


def test_the_longest_order_id_is_taken() -> None:
    assert incoming_of(record(key="ord_" + "1" * 64)).merchant_id == "mer_1"
