"""Both sides' records, in a file that is gone afterwards."""

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

from shared.contracts.order_parts import MethodType
from shared.immutable import immutable

Json = dict[str, Any]
Key = tuple[str, str, str]
"""Of a payment: its order, the acquirer's name of it, and its currency."""

_AT_THE_ACQUIRER: tuple[MethodType, ...] = ("card", "wallet")
_OVERLAP = timedelta(minutes=5)
"""A movement can be seen later than one that was made after it, by as much as a transaction takes."""
_MOVEMENT = ("movement_id", "order_id", "reference", "currency", "kind", "amount", "made_at")
_PAYMENT = ("order_id", "reference", "currency", "payment_id", "held", "captured", "refunded", "version", "updated_at")
_ELSEWHERE = ("order_id", "payment_id", "reference", "currency", "refund_reference", "amount")
_TABLES = f"""
CREATE TABLE movements ({", ".join(_MOVEMENT)}, PRIMARY KEY (movement_id));
CREATE INDEX movements_by_payment ON movements (order_id, reference);
CREATE TABLE payments ({", ".join(_PAYMENT)}, PRIMARY KEY (order_id, payment_id));
CREATE INDEX payments_by_payment ON payments (order_id, reference);
CREATE TABLE elsewhere ({", ".join(_ELSEWHERE)}, PRIMARY KEY (order_id, payment_id, refund_reference));
"""
_SUMS = """
    sum(CASE kind WHEN 'hold' THEN amount WHEN 'capture' THEN -amount WHEN 'void' THEN -amount
        WHEN 'expiry' THEN -amount ELSE 0 END) AS held,
    sum(CASE WHEN kind IN ('sale', 'capture') THEN amount ELSE 0 END) AS captured,
    sum(CASE kind WHEN 'refund' THEN amount WHEN 'refund_reversal' THEN -amount ELSE 0 END) AS refunded
"""
# What the ledger has more than the orders, payment by payment; nothing of it may be left.
_DIFFERING = f"""
SELECT order_id, reference, currency FROM (
    SELECT order_id, reference, currency, {_SUMS} FROM movements GROUP BY order_id, reference, currency
    UNION ALL
    SELECT order_id, reference, currency, -held, -captured, -refunded FROM payments
) GROUP BY order_id, reference, currency
HAVING sum(held) <> 0 OR sum(captured) <> 0 OR sum(refunded) <> 0
ORDER BY order_id, reference, currency
"""


@immutable
class Difference:
    """A payment of which the two sides say different things, with the records of both."""

    order_id: str
    reference: str
    currency: str
    ledger: Json
    """`held`, `captured` and `refunded` in minor units, as the ledger's movements add up to."""
    orders: Json
    """The same, as the order says it."""
    movements: list[Json]
    payments: list[Json]


class Books:
    """What was read of both sides; a context, since it is a file."""

    def __enter__(self) -> Self:
        # A database without a name is in a temporary file as soon as it outgrows a little memory.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_TABLES)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def note_movements(self, movements: Iterable[Json]) -> None:
        """Each once, however often it is read."""
        rows = [
            (
                each["movement_id"],
                each["order_id"],
                each["payment_id"],
                each["currency"],
                each["kind"],
                each["amount_minor"],
                each["made_at"],
            )
            for each in movements
        ]
        self._insert("movements", len(_MOVEMENT), rows)

    def note_orders(self, orders: Iterable[Json]) -> None:
        """What the orders say of money that intents moved at the acquirer; the newest reading of an order counts."""
        legs = [(order, leg) for order in orders for leg in order["payments"] if _is_at_the_acquirer(leg)]
        elsewhere = [_elsewhere(order, leg) for order, leg in legs]
        rows = [
            (
                order["order_id"],
                leg["reference"],
                leg["captured_money"]["currency"],
                leg["payment_id"],
                leg["authorized_money"]["amount"],
                leg["captured_money"]["amount"],
                leg["refunded_money"]["amount"] - sum(refund["amount"] for refund in refunds),
                order["version"],
                order["updated_at"],
            )
            for (order, leg), refunds in zip(legs, elsewhere, strict=True)
        ]
        self._insert("payments", len(_PAYMENT), rows)
        known = (refund for refunds in elsewhere for refund in refunds)
        self._insert("elsewhere", len(_ELSEWHERE), [tuple(refund.values()) for refund in known])

    def elsewhere(self) -> list[Json]:
        """What people gave back in ways of which the acquirer knows nothing, as their orders say."""
        return self._read("SELECT * FROM elsewhere ORDER BY order_id, payment_id, refund_reference")

    def newest(self) -> datetime | None:
        """From when on the ledger may have movements that were not read; None where none were read."""
        newest = self._database.execute("SELECT max(made_at) FROM movements").fetchone()[0]
        return None if newest is None else datetime.fromisoformat(newest) - _OVERLAP

    def count(self, table: str) -> int:
        """How many records there are of one side."""
        number: int = self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return number

    def differing(self) -> list[Key]:
        """The payments of which the two sides say different things."""
        return [(row[0], row[1], row[2]) for row in self._database.execute(_DIFFERING)]

    def difference(self, order_id: str, reference: str, currency: str) -> Difference:
        """One of them, with what is known of it."""
        payment = "WHERE order_id = ? AND reference = ? AND currency = ?"
        key = (order_id, reference, currency)
        return Difference(
            *key,
            ledger=self._read(f"SELECT {_SUMS} FROM movements {payment}", key)[0],
            orders=self._read(
                "SELECT sum(held) AS held, sum(captured) AS captured, sum(refunded) AS refunded "
                f"FROM payments {payment}",
                key,
            )[0],
            movements=self._read(
                f"SELECT movement_id, kind, amount, made_at FROM movements {payment} ORDER BY made_at", key
            ),
            payments=self._read(
                f"SELECT payment_id, held, captured, refunded, version, updated_at FROM payments {payment}", key
            ),
        )

    def _read(self, query: str, key: Key | tuple[()] = ()) -> list[Json]:
        rows = self._database.execute(query, key)
        names = [column[0] for column in rows.description]
        return [{name: value or 0 for name, value in zip(names, row, strict=True)} for row in rows]

    def _insert(self, table: str, width: int, rows: list[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * width)
        self._database.execute("BEGIN")
        self._database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
        self._database.execute("COMMIT")


def _is_at_the_acquirer(leg: Json) -> bool:
    method = leg["method"]
    by_intent = leg["payment_intent_id"] is not None and leg["channel_id"] is None
    moved = any(leg[name]["amount"] for name in ("authorized_money", "captured_money", "refunded_money"))
    return by_intent and moved and method is not None and method["type"] in _AT_THE_ACQUIRER


def _elsewhere(order: Json, leg: Json) -> list[Json]:
    """Returns of a payment that no processor made."""
    return [
        {
            "order_id": order["order_id"],
            "payment_id": leg["payment_id"],
            "reference": leg["reference"],
            "currency": sent["amount_money"]["currency"],
            "refund_reference": sent["refund_reference"],
            "amount": sent["amount_money"]["amount"],
        }
        for refund in order["refunds"]
        for sent in refund["legs"]
        if sent["payment_id"] == leg["payment_id"] and sent["method"] == "external" and sent["status"] == "refunded"
    ]
