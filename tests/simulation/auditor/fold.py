"""An order as the auditor reckons it from its published events: money, leases, refunds, status; nothing else."""

from datetime import datetime

from tests.simulation.auditor.parts import Lease, Leg, Refund, line_total, moment, wire_name
from tests.simulation.world_api import Json


class Fold:
    """One order. `apply` takes the events of its next version."""

    __slots__ = (
        "authorized",
        "captured",
        "charges",
        "currency",
        "details",
        "discounts",
        "leases",
        "legs",
        "lines",
        "merchant_id",
        "only_leased",
        "refunded",
        "refunds",
        "returned",
        "status",
        "tip",
        "total",
        "version",
    )

    def __init__(self) -> None:
        self.version = self.tip = self.total = self.returned = 0
        self.authorized = self.captured = self.refunded = 0
        """Of all legs together."""
        self.status = self.merchant_id = self.currency = ""
        self.lines: dict[str, Json] = {}
        self.charges: dict[str, int] = {}
        self.discounts: dict[str, int] = {}
        self.details: Json = {}
        self.legs: dict[str, Leg] = {}
        self.leases: dict[str, Lease] = {}
        self.refunds: dict[str, Refund] = {}
        self.only_leased = True
        """Whether all money came under a lease that was live and large enough, and none went back."""

    @property
    def net_collected(self) -> int:
        return self.captured - self.refunded

    @property
    def balance(self) -> int:
        return self.total - self.returned - self.net_collected

    @property
    def reserved(self) -> int:
        return sum(refund.open for refund in self.refunds.values())

    def free(self, payment_id: str) -> int:
        """What the payment has, beyond what is set aside of it."""
        leg = self.legs.get(payment_id)
        aside = sum(
            min(refund.open, int(part["amount_minor"]))
            for refund in self.refunds.values()
            for part in refund.allocation
            if part["payment_id"] == payment_id
        )
        return max(0, leg.captured - leg.refunded - aside) if leg else 0

    def leased(self, now: datetime) -> int:
        return sum(lease.rest for lease in self.leases.values() if lease.live(now))

    def available(self, now: datetime) -> int:
        return max(0, max(0, self.balance) - self.authorized - self.leased(now))

    @property
    def payment_status(self) -> str:
        balance, collected = self.balance, self.net_collected
        if balance < 0:
            return "overpaid"
        if collected > 0:
            return "partially_paid" if balance else "paid"
        if self.authorized:
            return "authorized"
        if balance or self.status == "canceled":
            return "unpaid"
        # Nothing to pay is paid, but not while an order is still being made.
        return "paid" if self.captured or (self.lines and self.status != "draft") else "unpaid"

    @property
    def announced_status(self) -> str:
        """A draft is paid for whoever asks; all others hear of it when it opens."""
        status = self.payment_status
        return "unpaid" if self.status == "draft" and status == "paid" else status

    @property
    def refund_status(self) -> str:
        refunded = self.refunded
        if not refunded:
            return "none"
        return "refunded" if refunded >= self.captured else "partially_refunded"

    def leg_of(self, data: Json) -> Leg | None:
        """By id, else by what the same channel calls it."""
        leg = self.legs.get(data["payment_id"])
        channel_id = data.get("tender", {}).get("channel_id")
        if leg is None and channel_id is not None:
            reference = data.get("payment_reference")
            same = (leg for leg in self.legs.values() if (leg.reference, leg.channel_id) == (reference, channel_id))
            leg = next(same, None)
        return leg

    def apply(self, events: list[Json], at: datetime) -> None:
        """The next version."""
        self.version += 1
        for event in events:
            self._apply(wire_name(event["type"]), event["data"], at)
        legs = self.legs.values()
        self.authorized = sum([leg.held for leg in legs])
        self.captured = sum([leg.captured for leg in legs])
        self.refunded = sum([leg.refunded for leg in legs])

    def _apply(self, kind: str, data: Json, at: datetime) -> None:
        match kind:
            case "order_created":
                self._created(data)
            case "payment_authorized" | "payment_captured":
                self._taken(kind, data, at)
            case "payment_voided":
                leg = self._leg(data)
                if data.get("amount_minor") is None:
                    leg.voided, leg.ended = leg.voided + leg.held, "voided"
                else:
                    leg.voided += data["amount_minor"]
            case "payment_failed":
                self._leg(data).failure = data["code"]
            case "authorization_expired":
                self.legs[data["payment_id"]].ended = "expired"
            case "lease_granted" | "lease_extended" | "lease_released" | "lease_expired" | "lease_handed_over":
                self._lease(kind, data)
            case "refund_reserved" | "refund_recorded" | "refund_released" | "refund_reversed":
                self._refund(kind, data)
            case "order_opened":
                self.status = "open"
            case "order_closed":
                self.status = "closed"
            case "order_canceled":
                self.status, self.returned = "canceled", self.total
            case "order_details_updated":
                self.details = data["context"]
            case _:
                self._edit(kind, data)

    def _created(self, data: Json) -> None:
        self.status = "draft" if data.get("draft") else "open"
        self.merchant_id, self.currency, self.tip = data["merchant_id"], data["currency"], data.get("tip_minor", 0)
        self.lines = {line["line_item_id"]: line for line in data.get("line_items", ())}
        self.charges = {each["charge_id"]: each["amount_minor"] for each in data.get("charges", ())}
        self.discounts = {each["discount_id"]: each["amount_minor"] for each in data.get("discounts", ())}
        self.details = data.get("context", {})
        self._price()

    def _edit(self, kind: str, data: Json) -> None:
        match kind:
            case "line_item_added" | "line_item_updated":
                self.lines[data["line_item"]["line_item_id"]] = data["line_item"]
            case "line_item_removed":
                del self.lines[data["line_item_id"]]
            case "charge_added" | "charge_updated":
                self.charges[data["charge"]["charge_id"]] = data["charge"]["amount_minor"]
            case "charge_removed":
                del self.charges[data["charge_id"]]
            case "discount_applied":
                self.discounts[data["discount"]["discount_id"]] = data["discount"]["amount_minor"]
            case "discount_removed":
                del self.discounts[data["discount_id"]]
            case "tip_set":
                self.tip = data["tip_minor"]
            case _:
                return
        self._price()

    def _price(self) -> None:
        """The models' orders have no taxes, and no discounts but amounts off all lines."""
        lines = sum(line_total(line) for line in self.lines.values())
        left = max(0, lines - sum(self.discounts.values()))
        self.total = left + sum(self.charges.values()) + self.tip

    def _leg(self, data: Json) -> Leg:
        leg = self.leg_of(data)
        if leg is None:
            reference = data.get("payment_reference") or data["payment_id"]
            leg = Leg(data["payment_id"], reference, data.get("tender", {}).get("channel_id"))
            self.legs[leg.payment_id] = leg
        return leg

    def _taken(self, kind: str, data: Json, at: datetime) -> None:
        leg, amount, lease_id = self._leg(data), data["amount_minor"], data.get("lease_id")
        before = leg.held + leg.captured
        if kind == "payment_authorized":
            leg.authorized += amount
        else:
            leg.captured += amount
            leg.captures[data.get("capture_reference")] = amount
        # What was held under the same lease has used it already.
        newly = amount if leg.lease_id != lease_id else max(0, leg.held + leg.captured - before)
        lease = self.leases.get(lease_id) if lease_id else None
        if lease is None or not lease.live(at) or newly > lease.rest:
            self.only_leased = False
        leg.lease_id = lease_id or leg.lease_id
        if lease is not None:
            lease.rest = max(0, lease.rest - newly)
            if not lease.rest:
                del self.leases[data["lease_id"]]

    def _lease(self, kind: str, data: Json) -> None:
        lease_id = data["lease_id"]
        match kind:
            case "lease_granted":
                amount, until = data["amount_minor"], moment(data["expires_at"])
                self.leases[lease_id] = Lease(data["holder"], amount, amount, until, data.get("charging", False))
            case "lease_extended":
                lease = self.leases[lease_id]
                lease.until, lease.charging = moment(data["expires_at"]), data.get("charging", False)
            case "lease_handed_over":
                self.leases.pop(lease_id, None)
                amount = data["amount_minor"]
                new = Lease(data["to"], amount, amount, moment(data["expires_at"]), False)
                self.leases[data["new_lease_id"]] = new
            case _:
                self.leases.pop(lease_id, None)

    def _refund(self, kind: str, data: Json) -> None:
        refund = self.refunds.get(data["refund_id"])
        if refund is None:
            refund = self.refunds[data["refund_id"]] = Refund(data.get("effect", ""))
        match kind:
            case "refund_reserved":
                refund.reserved, refund.released, refund.before = data["amount_minor"], 0, frozenset(refund.legs)
                refund.allocation = data["allocation"]
            case "refund_released":
                refund.released += data["amount_minor"]
            case "refund_recorded":
                self.only_leased = False
                leg = self._leg(data)
                leg.refunded += data["amount_minor"]
                self.returned += data["returned_minor"]
                sent: list[int | bool | str] = [data["amount_minor"], data["returned_minor"], False, leg.payment_id]
                refund.legs[data["refund_reference"]] = sent
            case _:
                self._reversed(refund, data["refund_reference"])

    def _reversed(self, refund: Refund, reference: str) -> None:
        """The money is ours again and not set aside; a canceled order stays worth nothing."""
        amount, returned, _, payment_id = refund.legs[reference]
        refund.legs[reference][2] = True
        if reference not in refund.before:
            refund.released += min(int(amount), refund.open)
        self.legs[str(payment_id)].refunded -= int(amount)
        if self.status != "canceled":
            self.returned -= int(returned)
