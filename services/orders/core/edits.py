"""Changes of what is sold: lines, charges, discounts, tip. Never below what is collected, held or being collected."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.orders.core.blockers import leases_in_the_way, money_in_the_way
from services.orders.core.evolve import evolve
from services.orders.core.pricing import subtotals
from services.orders.core.refusal import Refusal
from services.orders.core.state import Order
from shared.contracts.model import MAX_MINOR
from shared.contracts.order_commands import (
    AddCharge,
    AddLineItem,
    ApplyDiscount,
    RemoveCharge,
    RemoveDiscount,
    RemoveLineItem,
    SetTip,
    UpdateCharge,
    UpdateLineItem,
)
from shared.contracts.order_events import (
    ChargeAdded,
    ChargeRemoved,
    ChargeUpdated,
    DiscountApplied,
    DiscountRemoved,
    LineItemAdded,
    LineItemRemoved,
    LineItemUpdated,
    OrderEvent,
    TipSet,
)
from shared.contracts.order_parts import (
    MAX_CHARGES,
    MAX_DISCOUNTS,
    MAX_LINES,
    MAX_METADATA_KEYS,
    Charge,
    Discount,
    LineItem,
)
from shared.money import format_money

EditCommand = (
    AddLineItem
    | UpdateLineItem
    | RemoveLineItem
    | AddCharge
    | UpdateCharge
    | RemoveCharge
    | ApplyDiscount
    | RemoveDiscount
    | SetTip
)


def edit(order: Order, command: EditCommand, now: datetime) -> list[OrderEvent] | Refusal:
    """The change, unless the order has ended or the new total contradicts money."""
    if order.status not in ("draft", "open"):
        return Refusal("ORDER_NOT_OPEN", f"The order is {order.status}.", {"status": order.status})
    decided = _change(order, command)
    if isinstance(decided, Refusal) or decided is None:
        return decided or []
    after = evolve(order, decided, now)
    return fault_in(after.lines, after.charges, after.discounts) or _contradiction(order, after, now) or [decided]


def discounted(order: Order, discount: Discount, now: datetime) -> Order | Refusal:
    """The order as it would be with the discount; nothing changes (a preview)."""
    decided = edit(order, ApplyDiscount(discount=discount), now)
    return decided if isinstance(decided, Refusal) else evolve(order, DiscountApplied(discount=discount), now)


def _change(order: Order, command: EditCommand) -> OrderEvent | Refusal | None:
    """The event, `None` where it is already so, or a refusal for what is not there."""
    match command:
        case AddLineItem(line_item=line):
            return _add(line, order.lines, LineItemAdded(line_item=line))
        case UpdateLineItem():
            return _updated_line(order, command)
        case RemoveLineItem(line_item_id=line_item_id):
            if _find(order.lines, line_item_id) is None:
                return _missing("line item")
            named = (d for d in order.discounts if d.line_item_ids and line_item_id in d.line_item_ids)
            if next(named, None):
                return Refusal("VALIDATION_FAILED", "A discount names this line: remove the discount first.")
            return LineItemRemoved(line_item_id=line_item_id)
        case AddCharge(charge=charge):
            return _add(charge, order.charges, ChargeAdded(charge=charge))
        case UpdateCharge():
            return _updated_charge(order, command)
        case RemoveCharge(charge_id=charge_id):
            return ChargeRemoved(charge_id=charge_id) if _find(order.charges, charge_id) else _missing("charge")
        case ApplyDiscount(discount=discount):
            return _add(discount, order.discounts, DiscountApplied(discount=discount))
        case RemoveDiscount(discount_id=discount_id):
            known = _find(order.discounts, discount_id)
            return DiscountRemoved(discount_id=discount_id) if known else _missing("discount")
        case SetTip(tip_minor=tip):
            return None if tip == order.tip else TipSet(tip_minor=tip)


Piece = LineItem | Charge | Discount


def _id_of(piece: Piece) -> str:
    match piece:
        case LineItem():
            return piece.line_item_id
        case Charge():
            return piece.charge_id
        case Discount():
            return piece.discount_id


def _find(pieces: Sequence[Piece], wanted: str) -> Piece | None:
    return next((piece for piece in pieces if _id_of(piece) == wanted), None)


_MOST: dict[type[Piece], tuple[int, str, str]] = {
    LineItem: (MAX_LINES, "lines", "line_items"),
    Charge: (MAX_CHARGES, "charges", "charges"),
    Discount: (MAX_DISCOUNTS, "discounts", "discounts"),
}


def _add(new: Piece, pieces: Sequence[Piece], event: OrderEvent) -> OrderEvent | Refusal | None:
    """Only what is added is refused for its number: whoever has too much can take it away."""
    known = _find(pieces, _id_of(new))
    if known is not None:
        return None if known == new else Refusal("VALIDATION_FAILED", f"{_id_of(new)} is on the order already.")
    most, what, param = _MOST[type(new)]
    if len(pieces) >= most:
        return Refusal("VALIDATION_FAILED", f"An order has at most {most} {what}.", param=param)
    return event


def _updated_line(order: Order, command: UpdateLineItem) -> OrderEvent | Refusal | None:
    known = next((line for line in order.lines if line.line_item_id == command.line_item_id), None)
    if known is None:
        return _missing("line item")
    changes = _given(command, "name", "quantity", "unit_price_minor", "taxes")
    if "sku" in command.model_fields_set:
        changes["sku"] = command.sku
    if command.metadata is not None:
        merged = {**known.metadata, **command.metadata}
        changes["metadata"] = {key: value for key, value in merged.items() if value is not None}
    line = known.model_copy(update=changes)
    if len(line.metadata) > MAX_METADATA_KEYS:
        return Refusal("VALIDATION_FAILED", f"At most {MAX_METADATA_KEYS} metadata keys.", param="metadata")
    return None if line == known else LineItemUpdated(line_item=line)


def _updated_charge(order: Order, command: UpdateCharge) -> OrderEvent | Refusal | None:
    known = next((charge for charge in order.charges if charge.charge_id == command.charge_id), None)
    if known is None:
        return _missing("charge")
    charge = known.model_copy(update=_given(command, "name", "type", "amount_minor", "taxes"))
    return None if charge == known else ChargeUpdated(charge=charge)


def _given(command: UpdateLineItem | UpdateCharge, *names: str) -> dict[str, Any]:
    return {name: getattr(command, name) for name in names if getattr(command, name) is not None}


def _missing(what: str) -> Refusal:
    return Refusal("NOT_FOUND", f"The order has no such {what}.")


def fault_in(lines: Sequence[LineItem], charges: Sequence[Charge], discounts: Sequence[Discount]) -> Refusal | None:
    """What cannot be an order whatever its state: ids twice, totals beyond what money may be."""
    for param, pieces in (("line_items", lines), ("charges", charges), ("discounts", discounts)):
        ids = [_id_of(piece) for piece in pieces]
        if len(set(ids)) < len(ids):
            return Refusal("VALIDATION_FAILED", "Two parts have the same id.", param=param)
    known = {line.line_item_id for line in lines}
    if any(not known.issuperset(discount.line_item_ids or ()) for discount in discounts):
        return Refusal("VALIDATION_FAILED", "A discount names a line that the order does not have.", param="discounts")
    if sum(subtotals(lines)) > MAX_MINOR:
        return Refusal("AMOUNT_TOO_LARGE", "The lines come to more than an order can hold.", param="line_items")
    return None


def _contradiction(before: Order, after: Order, now: datetime) -> Refusal | None:
    """An edit may not take the total below what is collected, held and being collected, nor make a surplus larger."""
    bound = max(0, after.net_collected + after.authorized + after.leased(now))
    if after.net_total >= bound or after.net_total >= before.net_total:
        return None
    return Refusal(
        "EDIT_CONTRADICTS_MONEY",
        f"The order would come to {format_money(after.net_total, after.currency)}, but "
        f"{format_money(bound, after.currency)} is collected, held or being collected.",
        {"net_total_minor": after.net_total, "bound_minor": bound},
        (*money_in_the_way(before), *leases_in_the_way(before, now)),
    )
