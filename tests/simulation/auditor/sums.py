"""The numbers of an order: as everybody sees them, and as they must be by the identities."""

from datetime import datetime

from tests.simulation.auditor.fold import Fold
from tests.simulation.auditor.parts import line_total
from tests.simulation.world_api import Json


def shown(order: Json) -> Json:
    """The numbers of an order as everybody sees it."""
    pricing, settlement = order["pricing"], order["settlement"]
    found: Json = {name[:-6]: money["amount"] for name, money in pricing.items()}
    found.update((name[:-6], money["amount"]) for name, money in settlement.items())
    found["version"], found["status"] = order["version"], order["status"]
    found["payment_status"], found["refund_status"] = order["payment_status"], order["refund_status"]
    found["payments"] = sorted(
        (
            leg["payment_id"],
            leg["reference"],
            leg["authorized_money"]["amount"],
            leg["captured_money"]["amount"],
            leg["refunded_money"]["amount"],
            leg["voided_money"]["amount"],
        )
        for leg in order["payments"]
    )
    found["leases"] = sorted((lease["lease_id"], lease["amount_money"]["amount"]) for lease in order["leases"])
    found["refunds"] = sorted(
        (refund["refund_id"], refund["reserved_money"]["amount"], refund["refunded_money"]["amount"])
        for refund in order["refunds"]
    )
    return found


def reckoned(fold: Fold, at: datetime) -> Json:
    """The same numbers, by the identities."""
    lines, charges = sum(map(line_total, fold.lines.values())), sum(fold.charges.values())
    authorized, captured, refunded, leased = fold.authorized, fold.captured, fold.refunded, fold.leased(at)
    collected = captured - refunded
    net_total = fold.total - fold.returned
    owed = max(0, net_total - collected)
    return {
        "subtotal": lines,
        "discount": lines + charges + fold.tip - fold.total,
        "charge": charges,
        "tax": 0,
        "tip": fold.tip,
        "total": fold.total,
        "returned": fold.returned,
        "net_total": net_total,
        "authorized": authorized,
        "captured": captured,
        "refunded": refunded,
        "net_collected": collected,
        "leased": leased,
        "outstanding": owed,
        "available": max(0, owed - authorized - leased),
        "credit": max(0, collected - net_total),
        "version": fold.version,
        "status": fold.status,
        "payment_status": fold.payment_status,
        "refund_status": fold.refund_status,
        "payments": sorted(
            (leg.payment_id, leg.reference, leg.held, leg.captured, leg.refunded, leg.voided)
            for leg in fold.legs.values()
        ),
        "leases": sorted((lease_id, lease.rest) for lease_id, lease in fold.leases.items() if lease.live(at)),
        "refunds": sorted((refund_id, each.open, each.recorded) for refund_id, each in fold.refunds.items()),
    }
