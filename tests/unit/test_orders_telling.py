"""Versions of an order as sentences."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.orders.core.telling import sentence
from shared.contracts.order_events import (
    AuthorizationExpired,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    NoteAdded,
    OrderCanceled,
    OrderEvent,
    OrderOverpaid,
    OrderPaid,
    OrderPartiallyPaid,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentVoided,
    RefundRecorded,
)
from shared.contracts.order_parts import Holder, Method, Tender
from shared.contracts.orders import EVENTS

CARD = Tender(source="pos", method=Method(type="card", brand="visa", last4="4242"))
PAYMENT: dict[str, Any] = {"payment_id": "pay_1", "payment_reference": "sbp_1"}
LATER = "2026-11-22T12:05:00Z"


@pytest.mark.parametrize(
    ("events", "balance", "told"),
    [
        (
            [PaymentCaptured(**PAYMENT, amount_minor=4000, tender=CARD), OrderPartiallyPaid()],
            5000,
            "Card visa 4242 at the register: 40.00 EUR collected, 50.00 EUR still owed.",
        ),
        ([PaymentCaptured(**PAYMENT, amount_minor=1, tender=Tender()), OrderPaid()], 0,
         "A payment: 0.01 EUR collected, the order is paid."),
        ([PaymentCaptured(**PAYMENT, amount_minor=300), OrderOverpaid(credit_minor=100)], -100,
         "A payment: 3.00 EUR collected, 1.00 EUR more than is owed."),
        ([PaymentCaptured(**PAYMENT, amount_minor=300)], 200, "A payment: 3.00 EUR collected, 2.00 EUR still owed."),
        ([PaymentAuthorized(**PAYMENT, amount_minor=5000, tender=CARD)], 5000,
         "Card visa 4242 at the register: 50.00 EUR authorized."),
        ([PaymentVoided(**PAYMENT, tender=CARD)], 5000,
         "Card visa 4242 at the register: the rest of the authorization let go."),
        ([PaymentVoided(**PAYMENT, amount_minor=100, tender=CARD)], 5000,
         "Card visa 4242 at the register: 1.00 EUR of the authorization let go."),
        ([AuthorizationExpired(payment_id="pay_1")], 5000, "The authorization ran out."),
        ([PaymentFailed(**PAYMENT, code="insufficient_funds", amount_minor=5000, tender=CARD)], 5000,
         "Card visa 4242 at the register: 50.00 EUR declined (insufficient funds)."),
        ([PaymentFailed(**PAYMENT, code="lost_card")], 5000, "A payment: declined (lost card)."),
        (
            [RefundRecorded(refund_id="ref_1", refund_reference="r", payment_id="pay_1", amount_minor=200,
                            returned_minor=200, effect="reduce_total", tender=CARD, reason="too small")],
            0,
            "Card visa 4242 at the register: 2.00 EUR refunded (too small).",
        ),
        (
            [RefundRecorded(refund_id="ref_1", refund_reference="r", payment_id="pay_1", amount_minor=200,
                            returned_minor=0, effect="reopen_balance", tender=Tender(method=Method(type="external")))],
            0,
            "2.00 EUR given back elsewhere.",
        ),
        ([LeaseGranted(lease_id="ls_1", holder=Holder(type="payment_intent", id="pi_1"), amount_minor=5000,
                       expires_at=LATER)], 5000, "50.00 EUR reserved for a payment."),
        ([LeaseExtended(lease_id="ls_1", expires_at=LATER)], 5000, "Reserved for longer, until 12:05 UTC."),
        ([LeaseReleased(lease_id="ls_1", reason="payment_declined")], 5000,
         "No longer reserved (payment declined)."),
        ([NoteAdded(note_id="note_1", text="Secret")], 5000, "A note added."),
        ([OrderCanceled(reason="out of stock")], 0, "Order canceled (out of stock)."),
    ],
)  # fmt: skip
def test_a_version_reads_as_a_sentence(events: list[OrderEvent], balance: int, told: str) -> None:
    assert sentence(events, "EUR", balance) == told


@pytest.mark.parametrize("wire_type", EVENTS)
def test_every_event_that_was_ever_stored_reads_as_a_sentence(wire_type: str) -> None:
    examples = Path(__file__).parents[1] / "contract" / "examples" / f"{wire_type}.json"
    for example in json.loads(examples.read_text()):
        told = sentence([EVENTS[wire_type].model_validate(example)], "EUR", 5000)
        assert told[0].isupper() or not told[0].isalpha(), told
        assert told.endswith("."), told
