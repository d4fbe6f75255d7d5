"""What a reckoned order is made of."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from tests.simulation.world_api import Json


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def wire_name(wire_type: str) -> str:
    """`orders.order_paid.v1` → `order_paid`."""
    return wire_type[7:-3]


@dataclass(slots=True)
class Leg:
    """One payment."""

    payment_id: str
    reference: str
    channel_id: str | None
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    voided: int = 0
    ended: str | None = None
    failure: str | None = None
    lease_id: str | None = None
    captures: dict[str | None, int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return 0 if self.ended else max(0, self.authorized - self.captured - self.voided)


@dataclass(slots=True)
class Lease:
    """What is left of it; `amount` is what was granted."""

    holder: Json
    amount: int
    rest: int
    until: datetime
    charging: bool

    def live(self, now: datetime) -> bool:
        return self.rest > 0 and now < self.until


@dataclass(slots=True)
class Refund:
    """Legs by reference: amount, what it returned, whether it was reversed, payment id.

    What is reserved and released is of the newest reservation, for which only legs that are not of before count.
    """

    effect: str
    reserved: int = 0
    released: int = 0
    before: frozenset[str] = frozenset()
    legs: dict[str, list[int | bool | str]] = field(default_factory=dict)
    allocation: list[Json] = field(default_factory=list)

    @property
    def recorded(self) -> int:
        return sum(int(leg[0]) for leg in self.legs.values() if not leg[2])

    @property
    def open(self) -> int:
        earlier = sum(int(self.legs[reference][0]) for reference in self.before if not self.legs[reference][2])
        return max(0, self.reserved - self.released - (self.recorded - earlier))


def line_total(line: Json) -> int:
    """Rounded half away from zero."""
    price, quantity = int(line["unit_price_minor"]), line.get("quantity", "1")
    return price if quantity == "1" else int((price * Decimal(quantity)).quantize(Decimal(1), ROUND_HALF_UP))
