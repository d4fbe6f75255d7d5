"""An order as everybody sees it: over HTTP, in events, in the past. Money in minor units, times in UTC."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from services.orders.core.state import Lease, Order, Payment, PricedPart, Refund
from shared.contracts.order_parts import Charge, Discount, LineItem, Tax

Json = dict[str, Any]
ToMoney = Callable[[int], Json]


def order_view(order: Order, now: datetime, lines: Any = None) -> Json:
    """The order at `now`: leases that have run out by then do not count. `lines` spares working out `lines_view`."""
    currency = order.currency

    def money(amount: int) -> Json:
        return {"amount": amount, "currency": currency}

    context, live = order.context, order.live_leases(now)
    return {
        "order_id": order.order_id,
        "number": order.number,
        "merchant_id": order.merchant_id,
        "environment": order.environment,
        "version": order.version,
        "status": order.status,
        "payment_status": order.payment_status,
        "refund_status": order.refund_status,
        "fulfillment_status": "not_fulfilled",
        "source": order.source,
        "location_id": context.location_id,
        "device_id": context.device_id,
        "operator_id": context.operator_id,
        "customer_id": context.customer_id,
        "external_reference": context.external_reference,
        "currency": currency,
        "line_items": lines_view(order) if lines is None else lines,
        "charges": [
            _charge(charge, part, money) for charge, part in zip(order.charges, order.pricing.charges, strict=True)
        ],
        "discounts": [
            _discount(discount, amount, money)
            for discount, amount in zip(order.discounts, order.pricing.discounts, strict=True)
        ],
        "pricing": _pricing(order, money),
        "settlement": _settlement(order, live, money),
        "payments": [_payment(leg, money) for leg in order.payments],
        "leases": [lease_view(lease, money) for lease in live],
        "refunds": [_refund(refund, money) for refund in order.refunds],
        "customer": None,
        "metadata": order.metadata,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "closed_at": order.closed_at,
        "canceled_at": order.canceled_at,
    }


def lines_view(order: Order) -> list[Json]:
    """The lines of an order as they are part of it."""

    def money(amount: int) -> Json:
        return {"amount": amount, "currency": order.currency}

    return [_line(line, part, money) for line, part in zip(order.lines, order.pricing.lines, strict=True)]


def _taxes(taxes: tuple[Tax, ...], amounts: tuple[int, ...], money: ToMoney) -> list[Json]:
    return [
        {
            "name": tax.name,
            "percentage": tax.percentage,
            "inclusive": tax.inclusive,
            "tax_money": money(amount),
        }
        for tax, amount in zip(taxes, amounts, strict=True)
    ]


def _line(line: LineItem, part: PricedPart, money: ToMoney) -> Json:
    return {
        "line_item_id": line.line_item_id,
        "name": line.name,
        "sku": line.sku,
        "quantity": line.quantity,
        "unit_price_money": money(line.unit_price_minor),
        "subtotal_money": money(part.subtotal),
        "discount_money": money(part.discount),
        "taxes": _taxes(line.taxes, part.taxes, money),
        "total_money": money(part.total),
        "metadata": line.metadata,
    }


def _charge(charge: Charge, part: PricedPart, money: ToMoney) -> Json:
    return {
        "charge_id": charge.charge_id,
        "name": charge.name,
        "type": charge.type,
        "amount_money": money(charge.amount_minor),
        "taxes": _taxes(charge.taxes, part.taxes, money),
        "total_money": money(part.total),
    }


def _discount(discount: Discount, amount: int, money: ToMoney) -> Json:
    return {
        "discount_id": discount.discount_id,
        "name": discount.name,
        "percentage": discount.percentage,
        "amount_money": money(amount),
        "line_item_ids": list(discount.line_item_ids) if discount.line_item_ids else None,
    }


def _pricing(order: Order, money: ToMoney) -> Json:
    pricing = order.pricing
    return {
        "subtotal_money": money(pricing.subtotal),
        "discount_money": money(pricing.discount),
        "charge_money": money(pricing.charge),
        "tax_money": money(pricing.tax),
        "tip_money": money(pricing.tip),
        "total_money": money(pricing.total),
        "returned_money": money(order.returned),
        "net_total_money": money(order.net_total),
    }


def _settlement(order: Order, live: Sequence[Lease], money: ToMoney) -> Json:
    leased = sum([lease.rest for lease in live])
    return {
        "authorized_money": money(order.authorized),
        "captured_money": money(order.captured),
        "refunded_money": money(order.refunded),
        "net_collected_money": money(order.net_collected),
        "leased_money": money(leased),
        "outstanding_money": money(order.outstanding),
        "available_money": money(order.beside(leased)),
        "credit_money": money(order.credit),
    }


def _payment(leg: Payment, money: ToMoney) -> Json:
    tender = leg.tender
    method = tender.method
    return {
        "payment_id": leg.payment_id,
        "reference": leg.reference,
        "status": leg.status,
        "source": tender.source,
        "method": None if method is None else {"type": method.type, "brand": method.brand, "last4": method.last4},
        "authorized_money": money(leg.open_authorization),
        "captured_money": money(leg.captured),
        "refunded_money": money(leg.refunded),
        "voided_money": money(leg.voided),
        "failure_code": leg.failure_code,
        "channel_id": tender.channel_id,
        "payment_intent_id": tender.payment_intent_id,
        "device_id": tender.device_id,
        "location_id": tender.location_id,
        "operator_id": tender.operator_id,
        "lease_id": leg.lease_id,
        "captured_at": leg.captured_at,
    }


def lease_view(lease: Lease, money: ToMoney) -> Json:
    """The unused part of a lease is what it still keeps from others."""
    return {
        "lease_id": lease.lease_id,
        "holder": {"type": lease.holder.type, "id": lease.holder.id},
        "amount_money": money(lease.rest),
        "charging": lease.charging,
        "fence": lease.fence,
        "expires_at": lease.expires_at,
    }


def _refund(refund: Refund, money: ToMoney) -> Json:
    return {
        "refund_id": refund.refund_id,
        "effect": refund.effect,
        "reason": refund.reason,
        "reserved_money": money(refund.open),
        "refunded_money": money(refund.recorded),
        "allocation": [
            {"payment_id": part.payment_id, "amount_money": money(part.amount_minor)} for part in refund.allocation
        ],
        "legs": [
            {
                "refund_reference": leg.reference,
                "payment_id": leg.payment_id,
                "amount_money": money(leg.amount),
                "status": "reversed" if leg.reversed else "refunded",
                "method": leg.method,
            }
            for leg in refund.legs
        ],
    }
