"""When nothing is under way any more, nothing is left to do, and everybody knows the same."""

from collections import Counter

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.seen import Seen

_NEVER_ANSWERED = (401, 403, 500)


def audit_left_over(seen: Seen) -> None:
    """Outboxes, the payments' copy of orders, and what HTTP answered."""
    if seen.finished:
        for table in ("orders.outbox", "payments.outbox", "apps.outbox"):
            if rows := seen.rows(table):
                seen.say(Invariant.OUTBOX_EMPTY, f"{table} has {len(rows)} messages, the first {rows[0]['id']}")
    _known_orders(seen)
    _asked_for(seen)
    _answers(seen)
    _understood(seen)


def _known_orders(seen: Seen) -> None:
    names = ("merchant_id", "external_reference", "currency", "status", "version")
    for known in seen.rows("payments.known_orders"):
        order = seen.orders.get(known["order_id"])
        if order is None or known["version"] > order["version"]:
            seen.say(Invariant.NOTHING_INVENTED, "payments know more of it than there is", known["order_id"])
        elif seen.finished and any(known[name] != order[name] for name in names):
            is_so = [known[name] for name in names]
            seen.say(Invariant.PAYMENTS_KNOW_ORDERS, f"payments know it as {is_so}", known["order_id"])
    if seen.finished:
        for order_id in seen.orders.keys() - {known["order_id"] for known in seen.rows("payments.known_orders")}:
            seen.say(Invariant.PAYMENTS_KNOW_ORDERS, "payments do not know it", order_id)


def _asked_for(seen: Seen) -> None:
    """No order that nobody asked for, and none missing that somebody was promised."""
    for order_id in seen.orders.keys() - seen.books.wanted.keys() - seen.by_http:
        seen.say(Invariant.NOTHING_INVENTED, "an order that nobody asked for", order_id)
    for order_id, wanted in seen.books.wanted.items():
        if wanted.promised and order_id not in seen.orders:
            seen.say(Invariant.NOTHING_LOST, "an order that was promised is not there", order_id)


def _answers(seen: Seen) -> None:
    """One key, one answer; one request, one order."""
    made = Counter(row["external_reference"] for row in seen.orders.values())
    for write in seen.books.writes:
        if len(set(write.answers)) > 1:
            seen.say(Invariant.ANSWERS_STAY, f"{write.path} {write.key} was answered {set(write.answers)}")
        reference = write.body.get("external_reference")
        if reference is not None and made[reference] > 1:
            seen.say(Invariant.NOTHING_TWICE, f"{write.path} {write.key} made {made[reference]} orders")
        accepted = any(status < 300 for status, _, _ in write.answers)
        if accepted and "text" in write.body and not seen.notes[write.body["text"]]:
            seen.say(Invariant.NOTHING_LOST, f"{write.path} {write.key} was answered and has no effect")
    for text, count in seen.notes.items():
        if count > 1:
            seen.say(Invariant.NOTHING_TWICE, f"the note {text} is there {count} times")


def _understood(seen: Seen) -> None:
    """Whoever asked may do everything."""
    answered = [(write.path, answer[0]) for write in seen.books.writes for answer in write.answers]
    answered += [(one.path, answer[0]) for one in seen.books.collecting for answer in one.answers]
    for path, status in answered:
        if status in _NEVER_ANSWERED:
            seen.say(Invariant.REQUESTS_ARE_UNDERSTOOD, f"{path} was answered {status}")
