"""What an order was not owed, or did not take, is shown to somebody."""

from datetime import timedelta

import pytest

from services.payments.core.intents.state import Intent
from services.payments.core.intents.surplus import item_for_reply
from shared.contracts.orders import CommandAccepted, CommandRefused
from tests.intents import CARD, START, intent

NOW = START + timedelta(minutes=1)


def collected() -> Intent:
    return intent(step="ended", end="succeeded", captured_minor=5000, reference="psp-1", tries=1, means=CARD)


def accepted(kind: str = "fact", **facts: object) -> CommandAccepted:
    return CommandAccepted(command_id=f"pi_1.{kind}.2", order_id="ord_1", order_version=9, facts=facts)


@pytest.mark.parametrize("kind", ["lease", "extend", "release", "order"])
def test_only_what_was_said_of_money_is_looked_at(kind: str) -> None:
    assert item_for_reply(collected(), accepted(kind, surplus_minor=5000), NOW) is None
    assert item_for_reply(collected(), accepted(), NOW) is None
    assert item_for_reply(intent(), accepted(surplus_minor=5000), NOW) is None


def test_a_surplus_is_shown_with_its_amount() -> None:
    item = item_for_reply(collected(), accepted(surplus_minor=1200), NOW)
    assert item is not None
    assert item.money.amount_money is not None
    assert (item.money.kind, item.money.amount_money.amount, item.money.order_version) == ("surplus", 1200, 9)
    assert (item.money.payment_reference, item.money.order_id) == ("psp-1", "ord_1")


def test_money_for_an_order_that_had_ended_is_shown() -> None:
    item = item_for_reply(collected(), accepted(surplus_minor=5000, order_status="canceled"), NOW)
    assert item is not None
    assert (item.money.kind, item.money.detail) == ("closed_order", "The order was canceled.")


def test_money_that_an_order_did_not_take_is_shown_whole() -> None:
    refused = CommandRefused(command_id="pi_1.fact.2", order_id="ord_1", order_version=9, code="CURRENCY_MISMATCH")
    item = item_for_reply(collected(), refused, NOW)
    assert item is not None
    assert item.money.amount_money is not None
    assert (item.money.kind, item.money.amount_money.amount) == ("conflict", 5000)
