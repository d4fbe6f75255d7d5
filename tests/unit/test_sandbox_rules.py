"""The acquirer's rules, case by case."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.sandbox.core.payment import Movement, Payment
from services.sandbox.core.rules import answer_challenge, authorize, change_payment, settled
from services.sandbox.core.tokens import BEHAVIOURS, Fault, fault_of
from services.sandbox.pages.challenge import Way, challenge_page, over_page
from shared.contracts.sandbox import TOKENS, Operation, SandboxRequest, Token

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def request(operation: Operation = "authorize", amount: int = 1_000, **more: Any) -> SandboxRequest:
    given = {
        "merchant_id": "mer_1",
        "environment": "test",
        "attempt_id": f"att_{operation}",
        "operation": operation,
        "amount_minor": amount,
        "currency": "EUR",
        "token": "sandbox_approve" if operation == "authorize" else None,
        "order_id": "ord_1",
        "payment_intent_id": "pi_1",
    }
    return SandboxRequest.model_validate(given | more)


def payment(token: Token, **more: Any) -> Payment:
    change = authorize(request(token=token, **({"capture": False} | more)), "sbp_1", "sbm_1", NOW).change
    assert change is not None
    return change.payment


def test_every_token_is_known() -> None:
    assert set(BEHAVIOURS) == TOKENS
    assert all(token.startswith("sandbox_") for token in TOKENS)


@pytest.mark.parametrize(
    ("token", "operation", "fault"),
    [
        ("sandbox_lost_reply", "authorize", "lost_reply"),
        ("sandbox_lost_reply", "capture", None),
        ("sandbox_lost_reply_on_capture", "authorize", None),
        ("sandbox_lost_reply_on_capture", "capture", "lost_reply"),
        ("sandbox_lost_request_on_refund", "refund", "lost_request"),
        ("sandbox_slow", "authorize", "slow"),
        ("sandbox_slow", "void", None),
        ("sandbox_approve", "authorize", None),
    ],
)
def test_what_goes_wrong_when(token: Token, operation: Operation, fault: Fault | None) -> None:
    assert fault_of(token, operation) == fault


def test_an_approved_hold() -> None:
    decision = authorize(request(capture=False), "sbp_1", "sbm_1", NOW)
    assert decision.change is not None
    assert decision.change.movements == (Movement("sbm_1", "hold", "att_authorize", "holder", "held", 1_000),)
    assert (decision.answer.reference, decision.answer.amount_minor) == ("sbp_1", 1_000)
    assert decision.answer.ends_at == NOW + timedelta(days=7)
    assert (decision.answer.brand, decision.answer.last4) == ("visa", "4242")


@pytest.mark.parametrize("changes", [{"token": None}, {"amount_minor": 0}])
def test_what_cannot_be_authorized(changes: dict[str, Any]) -> None:
    decision = authorize(request(**changes), "sbp_1", "sbm_1", NOW)
    assert (decision.answer.code, decision.change) == ("invalid_request", None)


def test_a_late_refund_is_settled_once() -> None:
    sold = payment("sandbox_refund_fails_late", capture=True)
    decision = change_payment(settled(sold, NOW), request("refund", 400), "sbm_2", NOW)
    assert decision.change is not None
    assert decision.late is not None
    refunded = decision.change.payment
    assert refunded.due_at == NOW + timedelta(seconds=3)
    later = settled(refunded, NOW + timedelta(seconds=3))
    assert later.movements == (Movement("sbm_2_reversal", "refund_reversal", "att_refund", "holder", "merchant", 400),)
    assert [(attempt_id, outcome.code) for attempt_id, outcome in later.outcomes] == [("att_refund", "refund_failed")]
    assert (later.payment.collected_minor, later.payment.due_at) == (1_000, None)
    assert settled(later.payment, NOW + timedelta(days=1)).movements == ()


def test_an_answered_challenge_is_not_answered_again() -> None:
    asked = payment("sandbox_challenge")
    assert asked.due_at == NOW + timedelta(minutes=15)
    answered = answer_challenge(asked, True, "sbm_1", NOW)
    assert answered.payment.held_minor == 1_000
    again = answer_challenge(answered.payment, False, "sbm_2", NOW)
    assert (again.payment, again.movements, again.outcomes) == (answered.payment, (), ())


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://shop.example/back?order=1", "https://shop.example"),
        ("http://127.0.0.1:8080/done", "http://127.0.0.1:8080"),
        ("https://shop.example", "https://shop.example"),
        ("https://shop.example#end", "https://shop.example"),
        ("javascript:alert(1)", None),
        ("https://shop.example;script-src *", None),
        ("https://shop.example/ two", None),
        ("https://user@shop.example/", None),
        ("https://shop.example/\r\nSet-Cookie: a=b", None),
        ("//shop.example", None),
        ("", None),
        (None, None),
    ],
)
def test_where_a_buyer_is_sent(url: str | None, origin: str | None) -> None:
    way = Way.of(url)
    assert (way.origin if way else None) == origin
    assert way is None or way.url == url


def test_what_comes_from_outside_is_escaped() -> None:
    asked = payment("sandbox_challenge", order_id='"><b>x</b>', return_url='https://shop.example/"><b>x</b>')
    assert "<b>" not in challenge_page(asked)
    assert "<b>" not in over_page(asked, Way.of(asked.return_url))
