"""What an order has to answer to a command, by the published rules: `MADE`, `ALREADY` so, or a code of refusal."""

from collections.abc import Callable
from datetime import datetime

from tests.simulation.auditor.fold import Fold
from tests.simulation.auditor.parts import Lease, line_total
from tests.simulation.world_api import Json

MADE, ALREADY = "made", "already"
FACTS = {
    "record_authorization",
    "record_capture",
    "record_void",
    "record_authorization_expiry",
    "record_payment_failure",
    "record_refund",
    "reverse_refund",
}
FACT_REFUSALS = ("CURRENCY_MISMATCH", "PAYMENT_REFERENCE_REUSED", "NOT_FOUND")
"""Whatever else a fact is refused with is wrong."""

LEADING_EVENT = {
    "create_order": "order_created",
    "open_order": "order_opened",
    "add_line_item": "line_item_added",
    "update_line_item": "line_item_updated",
    "remove_line_item": "line_item_removed",
    "add_charge": "charge_added",
    "remove_charge": "charge_removed",
    "apply_discount": "discount_applied",
    "remove_discount": "discount_removed",
    "set_tip": "tip_set",
    "update_order": "order_details_updated",
    "add_note": "note_added",
    "cancel_order": "order_canceled",
    "close_order": "order_closed",
    "acquire_lease": "lease_granted",
    "extend_lease": "lease_extended",
    "release_lease": "lease_released",
    "hand_over_lease": "lease_handed_over",
    "record_authorization": "payment_authorized",
    "record_capture": "payment_captured",
    "record_void": "payment_voided",
    "record_authorization_expiry": "authorization_expired",
    "record_payment_failure": "payment_failed",
    "reserve_refund": "refund_reserved",
    "record_refund": "refund_recorded",
    "release_refund": "refund_released",
    "reverse_refund": "refund_reversed",
}
"""Command → the event that follows from it."""

_CARRIED_OVER = (
    "amount_minor",
    "lease_id",
    "new_lease_id",
    "holder",
    "to",
    "payment_id",
    "payment_reference",
    "capture_reference",
    "refund_id",
    "refund_reference",
    "note_id",
    "text",
    "tip_minor",
    "line_item_id",
    "line_item",
)
_NOT_SAID = {"release_lease": ("holder",), "extend_lease": ("holder",), "record_payment_failure": ("lease_id",)}
"""Fields that a command has for the rules only."""


def carried_over(kind: str, body: Json, data: Json) -> str | None:
    """The first field that the event says otherwise than its command, if any."""
    for name in _CARRIED_OVER:
        asked = body.get(name)
        # What is nothing need not be said.
        if asked is not None and (data.get(name) or 0) != asked and name not in _NOT_SAID.get(kind, ()):
            return name
    return None


def expected(order: Fold, kind: str, body: Json, now: datetime) -> str:
    """For an order that exists and belongs to who asks."""
    rule = _RULES.get(kind)
    if rule is not None:
        return rule(order, body, now)
    return _fact(order, kind, body) if kind in FACTS else _edit(order, kind, body, now)


def _acquire(order: Fold, body: Json, now: datetime) -> str:
    held, amount = order.leases.get(body["lease_id"]), body["amount_minor"]
    if held is not None and held.live(now):
        return ALREADY if held.holder == body["holder"] and amount <= held.amount else "LEASE_NOT_HELD"
    owed = max(0, order.balance)
    if order.status != "open":
        return "ORDER_NOT_OPEN"
    if body.get("expected_outstanding_minor") not in (None, owed):
        return "OUTSTANDING_CHANGED"
    if not owed:
        return "ORDER_ALREADY_PAID"
    if amount <= order.available(now):
        return MADE
    return "OUTSTANDING_CHANGED" if amount > owed else "ORDER_BALANCE_LEASED"


def _live(order: Fold, lease_id: str, now: datetime) -> Lease | None:
    lease = order.leases.get(lease_id)
    return lease if lease is not None and lease.live(now) else None


def _extend(order: Fold, body: Json, now: datetime) -> str:
    lease = _live(order, body["lease_id"], now)
    if lease is None:
        return "LEASE_EXPIRED"
    return MADE if lease.holder == body["holder"] else "LEASE_NOT_HELD"


def _release(order: Fold, body: Json, now: datetime) -> str:
    lease = order.leases.get(body["lease_id"])
    if lease is None:
        return ALREADY
    return MADE if body.get("holder") in (None, lease.holder) else "LEASE_NOT_HELD"


def _hand_over(order: Fold, body: Json, now: datetime) -> str:
    taken = order.leases.get(body["new_lease_id"])
    if taken is not None:
        if not taken.live(now):
            return "LEASE_EXPIRED"
        return ALREADY if taken.holder == body["to"] else "LEASE_NOT_HELD"
    lease = _live(order, body["lease_id"], now)
    if lease is None:
        return "LEASE_EXPIRED"
    return "ORDER_BALANCE_LEASED" if lease.charging else MADE


def _cancel(order: Fold, body: Json, now: datetime) -> str:
    if order.status in ("canceled", "closed"):
        return ALREADY if order.status == "canceled" else "ORDER_NOT_OPEN"
    return "ORDER_HAS_MONEY" if order.authorized or order.net_collected > 0 else MADE


def _close(order: Fold, body: Json, now: datetime) -> str:
    if order.status != "open":
        return ALREADY if order.status == "closed" else "ORDER_NOT_OPEN"
    return "ORDER_HAS_MONEY" if order.authorized else MADE


def _open(order: Fold, body: Json, now: datetime) -> str:
    return {"draft": MADE, "open": ALREADY}.get(order.status, "ORDER_NOT_OPEN")


def _reserve(order: Fold, body: Json, now: datetime) -> str:
    """Only payments name payments: each what it collected."""
    known, amount = order.refunds.get(body["refund_id"]), body["amount_minor"]
    if known is not None and known.reserved and (known.open or not known.released):
        stands = known.open if known.released else known.reserved
        return ALREADY if stands == amount else "PAYMENT_REFERENCE_REUSED"
    if amount > max(0, order.net_collected - order.reserved):
        return "REFUND_EXCEEDS_COLLECTED"
    if body.get("only_credit") and amount > max(0, -order.balance - order.reserved):
        return "SURPLUS_GONE"
    bears = all(part["amount_minor"] <= order.free(part["payment_id"]) for part in body.get("payments", ()))
    return MADE if bears else "REFUND_EXCEEDS_COLLECTED"


def _release_refund(order: Fold, body: Json, now: datetime) -> str:
    refund = order.refunds.get(body["refund_id"])
    if refund is None:
        return "NOT_FOUND"
    return MADE if refund.open else ALREADY


def _note(order: Fold, body: Json, now: datetime) -> str:
    return MADE


def _update(order: Fold, body: Json, now: datetime) -> str:
    changed = any(order.details.get(name) != value for name, value in body.items())
    return MADE if changed else ALREADY


_RULES: dict[str, Callable[[Fold, Json, datetime], str]] = {
    "acquire_lease": _acquire,
    "extend_lease": _extend,
    "release_lease": _release,
    "hand_over_lease": _hand_over,
    "cancel_order": _cancel,
    "close_order": _close,
    "open_order": _open,
    "reserve_refund": _reserve,
    "release_refund": _release_refund,
    "add_note": _note,
    "update_order": _update,
    "create_order": lambda order, body, now: "ORDER_EXISTS",
}


def _fact(order: Fold, kind: str, body: Json) -> str:
    if kind in ("reverse_refund", "record_authorization_expiry"):
        return _about_known(order, kind, body)
    if body["currency"] != order.currency:
        return "CURRENCY_MISMATCH"
    before = _said_before(order, kind, body)
    if before is None:
        return MADE
    return ALREADY if before == body.get("amount_minor", before) else "PAYMENT_REFERENCE_REUSED"


def _about_known(order: Fold, kind: str, body: Json) -> str:
    if kind == "reverse_refund":
        refund = order.refunds.get(body["refund_id"])
        sent = refund.legs.get(body["refund_reference"]) if refund else None
        if sent is None:
            return "NOT_FOUND"
        return ALREADY if sent[2] else MADE
    leg = order.legs.get(body["payment_id"])
    if leg is None:
        return "NOT_FOUND"
    return ALREADY if leg.ended else MADE


def _said_before(order: Fold, kind: str, body: Json) -> int | None:
    """The amount that the same reference said before; whatever was asked, where the amount says nothing."""
    if kind == "record_refund":
        refund = order.refunds.get(body["refund_id"])
        sent = refund.legs.get(body["refund_reference"]) if refund else None
        return None if sent is None else int(sent[0])
    leg = order.leg_of(body)
    if leg is None:
        return None
    match kind:
        case "record_authorization":
            return leg.authorized or None
        case "record_capture":
            return leg.captures.get(body.get("capture_reference"))
        case "record_void":
            return body.get("amount_minor", 0) if leg.ended == "voided" else None
        case _:
            return body.get("amount_minor", 0) if leg.failure == body.get("code", "failed") else None


def _edit(order: Fold, kind: str, body: Json, now: datetime) -> str:
    if order.status not in ("draft", "open"):
        return "ORDER_NOT_OPEN"
    change = _change(order, kind, body)
    if not isinstance(change, int):
        return change
    bound = max(0, order.net_collected + order.authorized + order.leased(now))
    net_total = order.total - order.returned
    return MADE if change >= 0 or net_total + change >= bound else "EDIT_CONTRADICTS_MONEY"


def _change(order: Fold, kind: str, body: Json) -> int | str:
    """By how much the total changes; the models' orders have discounts only where lines stay."""
    match kind:
        case "set_tip":
            return ALREADY if body["tip_minor"] == order.tip else body["tip_minor"] - order.tip
        case "add_line_item":
            line = body["line_item"]
            known = order.lines.get(line["line_item_id"])
            if known is not None:
                return ALREADY if known == line else "VALIDATION_FAILED"
            return line_total(line)
        case "remove_line_item":
            known = order.lines.get(body["line_item_id"])
            return "NOT_FOUND" if known is None else -line_total(known)
        case _:
            raise NotImplementedError(f"no model says {kind}")
