"""A tiny honest world without servers: what it is told to have happened is written down everywhere, as it should be."""

from datetime import UTC, datetime, timedelta

import orjson

from tests.simulation.auditor.fold import Fold
from tests.simulation.auditor.seen import record_of
from tests.simulation.auditor.sums import reckoned
from tests.simulation.books import Books, Command, Garbage, Saying, Wanted
from tests.simulation.world_api import COMMANDS, DEAD_LETTERS, EVENTS, PAYMENTS_EVENTS, REPLIES, Evidence, Json, Told

MERCHANT, CHANNEL = "mer_1", "chn_a"
TOPIC = f"channels.{CHANNEL}.payments"
_BEGINNING = datetime(2026, 11, 22, tzinfo=UTC)


class ToyWorld:
    """Every method is one thing that happened, a second after the last one."""

    def __init__(self) -> None:
        self.books, self.evidence = Books(), Evidence()
        self.folds: dict[str, Fold] = {}
        self._now = _BEGINNING

    def rows(self, table: str) -> list[Json]:
        return self.evidence.tables.setdefault(table, [])

    def records(self, topic: str) -> list[Told]:
        return self.evidence.topics.setdefault(topic, [])

    def later(self, seconds: int = 1) -> datetime:
        self._now += timedelta(seconds=seconds)
        return self._now

    def lay(self, topic: str, key: str, value: bytes, **headers: str) -> Told:
        """One more record at the end of the topic."""
        encoded = tuple((name, text.encode()) for name, text in headers.items())
        told = Told(topic, 0, len(self.records(topic)), key.encode(), value, encoded)
        self.records(topic).append(told)
        return told

    def ask(
        self,
        order_id: str,
        command_id: str,
        kind: str,
        *,
        merchant_id: str = MERCHANT,
        ours: bool = True,
        **body: object,
    ) -> None:
        """A command, on its topic."""
        if ours:
            command = Command(order_id, command_id, kind, body, merchant_id, acknowledged=True)
            self.books.commands[order_id, command_id] = command
        source = "/services/tests" if ours else "/services/payments"
        headers = {"ce_id": command_id, "ce_type": f"orders.{kind}.v1", "ce_source": source}
        self.lay(COMMANDS, order_id, orjson.dumps(body), **headers, ce_merchantid=MERCHANT)

    def create(self, order_id: str, total: int, reference: str | None = None) -> None:
        """An order with one line, asked for and made."""
        self.books.wanted[order_id] = Wanted(order_id, MERCHANT, "EUR", total, reference)
        line = {"line_item_id": "li_1", "name": "Thing", "unit_price_minor": total}
        context = {"external_reference": reference} if reference else {}
        self.ask(order_id, f"{order_id}-create", "create_order", currency="EUR", line_items=[line], context=context)
        data = {"merchant_id": MERCHANT, "currency": "EUR", "line_items": [line], "context": context}
        self.happen(order_id, f"{order_id}-create", ("order_created", data))

    def happen(self, order_id: str, command_id: str, *events: tuple[str, Json], **facts: object) -> None:
        """The command was accepted, and these events followed."""
        fold, at = self.folds.setdefault(order_id, Fold()), self.later()
        balance = fold.balance
        entries = [{"type": f"orders.{kind}.v1", "data": data} for kind, data in events]
        fold.apply(entries, at)
        told: Json = {
            "order_id": order_id,
            "version": fold.version,
            "previous_version": fold.version - 1,
            "events": entries,
            "actor": {"type": "service", "id": "tests"},
            "channel": None,
            "reason": None,
            "recorded_at": at.isoformat(),
            "balance_before": {"amount": balance, "currency": "EUR"},
            "balance_after": {"amount": fold.balance, "currency": "EUR"},
        }
        first = f"orders.{events[0][0]}.v1"
        history = {"order_id": order_id, "version": fold.version, "type": first, "recorded_at": at}
        self.rows("orders.order_events").append(history | {"payload": _text(told | {"command_id": command_id})})
        headers = {"ce_id": f"{order_id}.{fold.version}", "ce_type": first, "ce_causationid": command_id}
        value = orjson.dumps(told | {"order": shown(fold, at)})
        self.lay(EVENTS, order_id, value, **headers, ce_orderversion=str(fold.version), ce_merchantid=MERCHANT)
        self._answer(order_id, command_id, {"version": fold.version} | ({"facts": facts} if facts else {}), at)

    def refuse(self, order_id: str, command_id: str, code: str) -> None:
        """The command was refused, and nothing followed."""
        fold = self.folds.get(order_id)
        version = fold.version if fold else 0
        self._answer(order_id, command_id, {"version": version, "code": code}, self.later())

    def _answer(self, order_id: str, command_id: str, kept: Json, at: datetime) -> None:
        row = {"aggregate_id": order_id, "command_id": command_id, "outcome": _text(kept), "recorded_at": at}
        self.rows("orders.inbox").append(row)
        body = {"command_id": command_id, "order_id": order_id, "order_version": kept["version"]}
        body |= {"facts": kept.get("facts", {})} | ({"code": kept["code"]} if "code" in kept else {})
        word = "refused" if "code" in kept else "accepted"
        headers = {"ce_causationid": command_id, "ce_type": f"orders.command_{word}.v1", "ce_merchantid": MERCHANT}
        self.lay(REPLIES, order_id, orjson.dumps(body), **headers)

    def say(self, kind: str, reference: str, amount: int, order_id: str, currency: str = "EUR") -> Saying:
        """A channel says it, once more perhaps."""
        fact = (CHANNEL, kind, reference, None)
        entry = self.books.said(Saying(fact, MERCHANT, order_id, None, amount, currency, acknowledged=True))
        value = _text(body_of(entry)).encode()
        event_id = f"evt-{len(self.records(TOPIC))}"
        told = self.lay(TOPIC, order_id, value, ce_id=event_id, ce_type=f"channel.payment.{kind}.v1")
        self.books.records[record_of(told)] = entry
        return entry

    def capture(self, reference: str, amount: int, order_id: str, status: str, currency: str = "EUR") -> Json:
        """A channel's capture counts, with a command to its order; its row."""
        said = self.say("captured", reference, amount, order_id, currency)
        self.ask(
            order_id, f"cev-{reference}", "record_capture", ours=False, **taken(reference, amount), currency=currency
        )
        row: Json = {
            "channel_event_id": f"cev-{reference}",
            "channel_id": CHANNEL,
            "merchant_id": MERCHANT,
            "type": "channel.payment.captured.v1",
            "body": _text(body_of(said)),
            "status": status,
            "order_id": None if status == "waiting" else order_id,
            "order_version": None,
            "refusal": None,
            "command_id": f"cev-{reference}",
        }
        self.rows("payments.channel_events").append(row)
        if status != "waiting":
            self.lay(PAYMENTS_EVENTS, order_id, b"{}", **_event(row["channel_event_id"], f"channel_event_{status}"))
        return row

    def take(self, reference: str, amount: int, order_id: str, *further: tuple[str, Json], **facts: object) -> None:
        """A channel's capture, applied."""
        row = self.capture(reference, amount, order_id, "applied")
        self.happen(order_id, row["command_id"], ("payment_captured", taken(reference, amount)), *further, **facts)
        row["order_version"] = self.folds[order_id].version

    def item(self, kind: str, said: Saying, order_id: str | None, amount: int | None = None) -> None:
        """Unmatched money, and the word of it."""
        row: Json = {
            "unmatched_money_id": f"um-{len(self.rows('payments.unmatched_money'))}",
            "merchant_id": MERCHANT,
            "kind": kind,
            "status": "open",
            "amount_minor": said.amount if amount is None else amount,
            "currency": said.currency,
            "channel_id": CHANNEL,
            "event_type": f"channel.payment.{said.fact[1]}.v1",
            "event": _text(body_of(said)),
            "order_id": order_id,
        }
        self.rows("payments.unmatched_money").append(row)
        told = {"unmatched_money": {"unmatched_money_id": row["unmatched_money_id"]}}
        key = order_id or row["unmatched_money_id"]
        self.lay(PAYMENTS_EVENTS, key, orjson.dumps(told), **_event(row["unmatched_money_id"], "unmatched_money_found"))

    def garbage(self, value: bytes, reason: str) -> None:
        """Something unreadable, and its dead letter."""
        place = self.lay(TOPIC, "key", value)
        self.books.records[record_of(place)] = Garbage(reason, acknowledged=True)
        named = {"tl_topic": TOPIC, "tl_partition": "0", "tl_offset": str(place.offset), "tl_reason": reason}
        self.lay(TOPIC + DEAD_LETTERS, "key", value, **named)

    def settle(self) -> None:
        """The orders as they are stored, and as payments know them; nothing left to do."""
        for order_id, fold in self.folds.items():
            same: Json = {
                "order_id": order_id,
                "merchant_id": fold.merchant_id,
                "external_reference": fold.details.get("external_reference"),
                "currency": fold.currency,
                "status": fold.status,
                "version": fold.version,
            }
            sums = {name: getattr(fold, name) for name in ("authorized", "captured", "refunded")}
            leases = [{"lease_id": name, "amount": lease.rest, "used": 0} for name, lease in fold.leases.items()]
            state = {"version": fold.version, "returned": fold.returned, "tip": fold.tip, "settlement": sums}
            more = {
                "payment_status": fold.payment_status,
                "refund_status": fold.refund_status,
                "total_minor": fold.total,
                "state": _text(state | {"leases": leases}),
            }
            self.rows("orders.orders").append(same | more)
            self.rows("payments.known_orders").append(dict(same))


def taken(reference: str, amount: int) -> Json:
    """What a command and its event say of a channel's capture."""
    tender = {"channel_id": CHANNEL}
    return {"payment_id": f"pay-{reference}", "payment_reference": reference, "amount_minor": amount, "tender": tender}


def body_of(said: Saying) -> Json:
    body: Json = {"payment_reference": said.fact[2], "order_id": said.order_id}
    return body | {"amount_money": {"amount": said.amount, "currency": said.currency}}


def shown(fold: Fold, at: datetime) -> Json:
    """The order as everybody sees it."""
    sums = reckoned(fold, at)

    def money(*names: str) -> Json:
        return {f"{name}_money": {"amount": sums[name]} for name in names}

    def listed(name: str, *columns: str) -> list[Json]:
        rows = (zip(columns, each, strict=True) for each in sums[name])
        return [{key: {"amount": said} if key.endswith("_money") else said for key, said in row} for row in rows]

    settlement = ("authorized", "captured", "refunded", "net_collected", "leased", "outstanding", "available", "credit")
    payment = ("payment_id", "reference", "authorized_money", "captured_money", "refunded_money", "voided_money")
    return {
        **{name: sums[name] for name in ("version", "status", "payment_status", "refund_status")},
        "pricing": money("subtotal", "discount", "charge", "tax", "tip", "total", "returned", "net_total"),
        "settlement": money(*settlement),
        "payments": listed("payments", *payment),
        "leases": listed("leases", "lease_id", "amount_money"),
        "refunds": listed("refunds", "refund_id", "reserved_money", "refunded_money"),
    }


def _event(name: str, kind: str) -> dict[str, str]:
    return {"ce_id": f"{name}.{kind}", "ce_type": f"payments.{kind}.v1", "ce_merchantid": MERCHANT}


def _text(value: Json) -> str:
    return orjson.dumps(value).decode()
