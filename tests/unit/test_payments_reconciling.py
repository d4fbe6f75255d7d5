"""A ledger against what orders say, payment by payment."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.payments.core.reconciling import Difference, Fact, Sums, differences, summed
from services.payments.facts import facts_in
from services.payments.told import Told
from shared.contracts.sandbox import SandboxMovement

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
_ACCOUNTS = {
    "hold": ("holder", "held"),
    "sale": ("holder", "merchant"),
    "capture": ("held", "merchant"),
    "void": ("held", "holder"),
    "expiry": ("held", "holder"),
    "refund": ("merchant", "holder"),
    "refund_reversal": ("holder", "merchant"),
}


def moved(kind: str, amount: int, payment: int = 1, currency: str = "EUR", at: datetime = NOW) -> SandboxMovement:
    source, target = _ACCOUNTS[kind]
    return SandboxMovement.model_validate(
        {
            "merchant_id": "mer_1",
            "environment": "test",
            "movement_id": f"sbm_{kind}_{amount}_{payment}",
            "kind": kind,
            "payment_id": f"sbp_{payment}",
            "order_id": "ord_1",
            "payment_intent_id": "pi_1",
            "attempt_id": "att_1",
            "source": source,
            "target": target,
            "amount_minor": amount,
            "currency": currency,
            "made_at": at,
        }
    )


def told(version: int, kind: Any, amount: int | None, payment: int | None = 1, **more: Any) -> Fact:
    fields: dict[str, Any] = {"payment_id": payment and f"pay_{payment}", "amount_minor": amount, "recorded_at": NOW}
    if kind in ("authorized", "captured", "voided"):
        fields["reference"] = f"sbp_{payment}"
    return Fact("ord_1", version, 0, "mer_1", "test", kind, "EUR", **(fields | more))


def different(ledger: Sums, order: Sums, **more: Any) -> Difference:
    return Difference(**({"order_id": "ord_1", "reference": "sbp_1", "currency": "EUR"} | more),
                      ledger=ledger, order=order, newest_at=NOW)  # fmt: skip


def test_nothing_differs_from_nothing() -> None:
    assert differences([], []) == []


def test_a_whole_life_agrees() -> None:
    movements = [moved("hold", 5000), moved("capture", 2000), moved("capture", 1000), moved("void", 2000),
                 moved("refund", 700), moved("refund", 300), moved("refund_reversal", 300)]  # fmt: skip
    facts = [
        told(3, "authorized", 5000),
        told(4, "captured", 2000),
        told(5, "captured", 1000),
        told(6, "voided", None),
        told(7, "refunded", 700, refund="ref_1/a"),
        told(8, "refunded", 300, refund="ref_1/b"),
        told(9, "reversed", None, None, refund="ref_1/b"),
    ]
    assert differences(movements, reversed(facts)) == []
    assert differences(movements[:-1], facts) == [
        different(Sums(0, 3000, 1000), Sums(0, 3000, 700)),
    ]


def test_a_sale_agrees_with_a_capture_and_an_expiry_with_its_end() -> None:
    facts = [told(2, "captured", 5000), told(3, "authorized", 700, 2), told(4, "expired", None, 2)]
    assert differences([moved("sale", 5000), moved("hold", 700, 2), moved("expiry", 700, 2)], facts) == []


def test_a_movement_without_a_fact_differs() -> None:
    later = NOW + timedelta(seconds=5)
    [found] = differences([moved("sale", 5000, at=later)], [])
    assert (found.ledger, found.order, found.newest_at) == (Sums(captured_minor=5000), Sums(), later)


def test_a_fact_without_a_movement_differs() -> None:
    assert differences([], [told(2, "captured", 5000)]) == [different(Sums(), Sums(captured_minor=5000))]


def test_another_amount_differs_also_where_both_are_held() -> None:
    assert differences([moved("sale", 5000)], [told(2, "captured", 4999)]) == [
        different(Sums(captured_minor=5000), Sums(captured_minor=4999))
    ]
    assert differences([moved("hold", 5000)], [told(2, "authorized", 5001)]) == [
        different(Sums(5000), Sums(5001))
    ]  # fmt: skip


def test_equal_amounts_in_two_currencies_differ_twice() -> None:
    found = differences([moved("sale", 5000, currency="USD")], [told(2, "captured", 5000)])
    assert [(each.currency, each.ledger.captured_minor, each.order.captured_minor) for each in found] == [
        ("EUR", 0, 5000),
        ("USD", 5000, 0),
    ]


def test_equal_sums_of_two_payments_do_not_make_up_for_each_other() -> None:
    found = differences([moved("sale", 5000, 1)], [told(2, "captured", 5000, 2)])
    assert [each.reference for each in found] == ["sbp_1", "sbp_2"]


def test_a_refund_of_what_no_intent_took_is_none_of_this() -> None:
    assert differences([], [told(2, "refunded", 5000, refund="ref_1/a"), told(3, "reversed", None, None)]) == []


CARD = {"payment_intent_id": "pi_1", "method": {"type": "card"}}


def heard(*events: tuple[str, dict[str, Any]], environment: str = "test") -> list[Fact]:
    """The facts in version 7 of an order."""
    money = {"amount": 0, "currency": "EUR"}
    body = {
        "order_id": "ord_1",
        "version": 7,
        "previous_version": 6,
        "events": [{"type": f"orders.{name}.v1", "data": data} for name, data in events],
        "order": None,
        "actor": {"type": "key", "id": "key_1"},
        "recorded_at": NOW.isoformat(),
        "balance_before": money,
        "balance_after": money,
    }
    return facts_in(Told.model_validate_json(json.dumps(body)), "mer_1", environment)


def captured(**fields: Any) -> tuple[str, dict[str, Any]]:
    leg = {"payment_id": "pay_1", "payment_reference": "sbp_1", "amount_minor": 5000, "tender": CARD}
    return "payment_captured", leg | fields


def test_what_an_order_says_of_an_intents_money_is_a_fact() -> None:
    refund = {"payment_id": "pay_1", "refund_id": "ref_1", "refund_reference": "r", "amount_minor": 5}
    found = heard(
        captured(),
        ("order_paid", {}),
        ("payment_voided", captured()[1] | {"amount_minor": None}),
        ("refund_recorded", refund),
        ("refund_reversed", {"refund_id": "ref_1", "refund_reference": "r"}),
        ("authorization_expired", {"payment_id": "pay_1"}),
    )
    assert [(each.ordinal, each.kind, each.reference, each.amount_minor, each.refund) for each in found] == [
        (0, "captured", "sbp_1", 5000, None),
        (2, "voided", "sbp_1", None, None),
        (3, "refunded", None, 5, "ref_1/r"),
        (4, "reversed", None, None, "ref_1/r"),
        (5, "expired", None, None, None),
    ]
    assert {(each.order_id, each.version, each.currency, each.recorded_at) for each in found} == {
        ("ord_1", 7, "EUR", NOW)
    }


@pytest.mark.parametrize(
    "tender",
    [
        {},
        {"method": {"type": "card"}},
        {"payment_intent_id": "pi_1"},
        CARD | {"method": {"type": "cash"}},
        CARD | {"channel_id": "chn_1"},
    ],
)
def test_money_that_no_acquirer_of_ours_moved_is_none(tender: dict[str, Any]) -> None:
    assert heard(captured(tender=tender)) == []


def test_what_a_person_gave_back_elsewhere_is_none() -> None:
    refund = {"payment_id": "pay_1", "refund_id": "ref_1", "refund_reference": "transfer-1", "amount_minor": 5}
    elsewhere = ("refund_recorded", refund | {"tender": {"method": {"type": "external"}}})
    came_back = ("refund_reversed", {"refund_id": "ref_1", "refund_reference": "transfer-1"})
    assert differences([moved("sale", 5000)], heard(captured(), elsewhere, came_back)) == []
    by_card = ("refund_recorded", refund | {"tender": {"method": {"type": "card"}}})
    assert len(differences([moved("sale", 5000)], heard(captured(), by_card))) == 1


def test_live_money_is_none() -> None:
    assert heard(captured(), environment="live") == []


@pytest.mark.parametrize(
    "nonsense",
    [{"amount_minor": 2**63}, {"amount_minor": -1}, {"amount_minor": 1.5}, {"payment_id": "pay\0"}, {"tender": 1}],
)
def test_what_could_not_be_kept_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        heard(captured(**nonsense))


LATER = NOW + timedelta(days=1)


def test_what_agrees_and_rests_is_summed_up() -> None:
    movements = [moved("hold", 5000), moved("capture", 2000), moved("capture", 1000), moved("void", 2000),
                 moved("refund", 700), moved("refund", 300), moved("refund_reversal", 300),
                 moved("hold", 900, 2), moved("void", 900, 2)]  # fmt: skip
    facts = [
        told(3, "authorized", 5000),
        told(4, "captured", 2000),
        told(5, "captured", 1000),
        told(6, "voided", None),
        told(7, "refunded", 700, refund="ref_1/a"),
        told(8, "refunded", 300, refund="ref_1/b"),
        told(9, "reversed", None, None, refund="ref_1/b"),
        told(10, "authorized", 900, 2),
        told(11, "voided", 900, 2),
    ]
    kept, gone = summed(movements, facts, LATER)
    assert kept == [told(4, "captured", 3000), told(7, "refunded", 700, refund="ref_1/a")]
    assert sorted(fact.version for fact in gone) == [3, 5, 6, 8, 9, 10, 11]
    assert differences(movements, kept) == []
    came_back = moved("refund_reversal", 700, at=LATER)
    assert differences([*movements, came_back], [*kept, told(12, "reversed", None, None, refund="ref_1/a")]) == []
    assert len(differences([*movements, came_back], kept)) == 1


@pytest.mark.parametrize(
    ("movements", "facts", "before"),
    [
        ([moved("hold", 50), moved("capture", 20)], [told(2, "authorized", 50), told(3, "captured", 20)], LATER),
        ([moved("hold", 50), moved("void", 50)], [told(2, "authorized", 50)], LATER),
        ([moved("hold", 50), moved("void", 50)], [told(2, "authorized", 50), told(3, "voided", None)], NOW),
        ([moved("hold", 50), moved("void", 50)],
         [told(2, "authorized", 50), told(3, "voided", None, recorded_at=LATER)], LATER),
        ([moved("hold", 50), moved("void", 50, at=LATER)],
         [told(2, "authorized", 50), told(3, "voided", None)], LATER),
    ],
    ids=["holding", "differing", "new", "heard of lately", "moved lately"],
)  # fmt: skip
def test_what_holds_differs_or_is_new_stays_as_it_was_told(movements: Any, facts: Any, before: datetime) -> None:
    assert summed(movements, facts, before) == ([], [])


def test_what_is_one_fact_already_stays_one() -> None:
    assert summed([moved("sale", 50)], [told(2, "captured", 50)], LATER) == ([], [])


def test_refunds_of_what_no_acquirer_took_are_not_kept() -> None:
    cash = told(2, "refunded", 5000, refund="ref_1/a")
    assert summed([], [cash], LATER) == ([], [cash])
