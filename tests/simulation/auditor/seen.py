"""Evidence in the order in which the auditor needs it, with what is wrong with its form already said."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from tests.simulation.auditor.findings import Finding, Invariant
from tests.simulation.auditor.fold import Fold
from tests.simulation.auditor.parts import wire_name
from tests.simulation.books import Books, Fact, Record
from tests.simulation.world_api import COMMANDS, DEAD_LETTERS, EVENTS, REPLIES, Evidence, Json, Row, Told

CommandKey = tuple[str, str]
"""Order and command id."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as it first lies on the topic."""

    kind: str
    body: Json
    merchant_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """As the inbox has it; `code` is `None` where it was accepted."""

    version: int
    code: str | None
    facts: Json
    at: datetime


@dataclass(slots=True)
class Placed:
    """A channel's fact as an order took it."""

    order_id: str
    merchant_id: str
    version: int
    amount: int | None
    currency: str


@dataclass(slots=True)
class Seen:
    """Everything by order; `folds`, `notes` and `placed` are filled while the orders are judged."""

    books: Books
    evidence: Evidence
    finished: bool
    only: Callable[[str], bool]
    findings: list[Finding] = field(default_factory=list)
    orders: dict[str, Row] = field(default_factory=dict)
    history: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    events: dict[str, dict[int, Told]] = field(default_factory=lambda: defaultdict(dict))
    asked: dict[CommandKey, Asked] = field(default_factory=dict)
    replies: dict[CommandKey, Told] = field(default_factory=dict)
    times_asked: Counter[CommandKey] = field(default_factory=Counter)
    times_answered: Counter[CommandKey] = field(default_factory=Counter)
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=lambda: defaultdict(dict))
    by_http: set[str] = field(default_factory=set)
    """Orders that were changed by requests."""
    folds: dict[str, Fold] = field(default_factory=dict)
    """Orders as they are reckoned."""
    notes: Counter[str] = field(default_factory=Counter)
    placed: dict[Fact, list[Placed]] = field(default_factory=lambda: defaultdict(list))

    def say(self, invariant: Invariant, sentence: str, order_id: str | None = None) -> None:
        self.findings.append(Finding(invariant, sentence, order_id))

    def rows(self, table: str) -> list[Row]:
        return self.evidence.tables.get(table, [])

    def topic(self, name: str) -> list[Told]:
        return self.evidence.topics.get(name, [])


def see(books: Books, evidence: Evidence, finished: bool, only: Callable[[str], bool]) -> Seen:
    """Sorted evidence of the orders that `only` lets through."""
    seen = Seen(books, evidence, finished, only)
    seen.orders = {row["order_id"]: row for row in seen.rows("orders.orders") if only(row["order_id"])}
    for row in seen.rows("orders.order_events"):
        if only(row["order_id"]):
            seen.history[row["order_id"]].append(row)
    for rows in seen.history.values():
        rows.sort(key=lambda row: int(row["version"]))
    named = {write.body.get("external_reference") for write in books.writes} - {None}
    seen.by_http = {order_id for order_id, row in seen.orders.items() if row["external_reference"] in named}
    _events(seen)
    _commands(seen)
    _replies(seen)
    _inbox(seen)
    return seen


def header(told: Told, name: str) -> str:
    """Its value, or nothing."""
    for known, value in told.headers:
        if known == name:
            return value.decode()
    return ""


def wire_type(told: Told) -> str:
    """`payments.channel_event_applied.v1`."""
    return header(told, "ce_type")


def record_of(told: Told) -> Record:
    """By what the books know it."""
    return told.topic, told.key or b"", told.value or b"", header(told, "ce_type")


def same_json(one: Told, other: Told) -> bool:
    """Whether they say the same; an outcome that was recalled may name its parts in another order."""
    if one.value == other.value:
        return True
    return bool(orjson.loads(one.value or b"null") == orjson.loads(other.value or b"null"))


def _events(seen: Seen) -> None:
    """First occurrences come as 1, 2, 3 … in one partition; what comes again says the same."""
    for told in seen.topic(EVENTS):
        order_id = (told.key or b"").decode()
        if not seen.only(order_id):
            continue
        known, version = seen.events[order_id], int(header(told, "ce_orderversion") or 0)
        first = known.get(version)
        if first is None:
            if version != len(known) + 1:
                seen.say(Invariant.FIRST_IN_ORDER, f"version {version} came after {len(known)} others", order_id)
            elif known and next(iter(known.values())).partition != told.partition:
                seen.say(Invariant.FIRST_IN_ORDER, f"version {version} is in another partition", order_id)
            known[version] = told
        elif (first.value, first.headers) != (told.value, told.headers):
            seen.say(Invariant.REPEATS_SAY_THE_SAME, f"version {version} was told in two ways", order_id)


def _commands(seen: Seen) -> None:
    """A command comes as often as it likes, and says the same."""
    values: dict[CommandKey, bytes | None] = {}
    for told in seen.topic(COMMANDS):
        order_id = (told.key or b"").decode()
        if not seen.only(order_id) or record_of(told) in seen.books.records:
            continue
        command_key = (order_id, header(told, "ce_id"))
        seen.times_asked[command_key] += 1
        if command_key in values:
            if values[command_key] != told.value:
                seen.say(Invariant.REPEATS_SAY_THE_SAME, f"command {command_key[1]} was sent in two ways", order_id)
            continue
        values[command_key] = told.value
        ours = seen.books.commands.get(command_key)
        body = ours.body if ours else orjson.loads(told.value or b"{}")
        if ours is None and header(told, "ce_source") != "/services/payments":
            seen.say(Invariant.NOTHING_INVENTED, f"nobody sent command {command_key[1]}", order_id)
        kind, merchant_id = wire_name(header(told, "ce_type")), header(told, "ce_merchantid")
        seen.asked[command_key] = Asked(kind, body, merchant_id, told.partition, told.offset)
    for command_key, command in seen.books.commands.items():
        if command.acknowledged and command_key not in seen.asked and seen.only(command.order_id):
            seen.say(Invariant.NOTHING_LOST, f"acknowledged {command_key[1]} is not on its topic", command.order_id)


def _replies(seen: Seen) -> None:
    """Each says the same for ever, and answers something that was asked."""
    for told in seen.topic(REPLIES):
        order_id = (told.key or b"").decode()
        if not seen.only(order_id):
            continue
        command_key = (order_id, header(told, "ce_causationid"))
        seen.times_answered[command_key] += 1
        first = seen.replies.setdefault(command_key, told)
        if not same_json(first, told):
            seen.say(Invariant.ONE_OUTCOME, f"command {command_key[1]} has two outcomes", order_id)
        if command_key not in seen.asked:
            seen.say(Invariant.NOTHING_INVENTED, f"a reply to {command_key[1]}, which nobody sent", order_id)
    if seen.finished:
        # Whoever asks again may have missed the first answer.
        for command_key in seen.replies.keys() & (seen.times_asked - seen.times_answered).keys():
            times = f"asked {seen.times_asked[command_key]} times, answered {seen.times_answered[command_key]} times"
            seen.say(Invariant.ASKED_AGAIN_ANSWERED_AGAIN, f"{command_key[1]} was {times}", command_key[0])


def _inbox(seen: Seen) -> None:
    for row in seen.rows("orders.inbox"):
        order_id, command_id = row["aggregate_id"], row["command_id"]
        if not seen.only(order_id):
            continue
        kept = orjson.loads(row["outcome"])
        outcome = Outcome(kept["version"], kept.get("code"), kept.get("facts", {}), row["recorded_at"])
        if command_id in seen.outcomes[order_id]:
            seen.say(Invariant.OUTCOME_RECORDED, f"command {command_id} is recorded twice", order_id)
        seen.outcomes[order_id][command_id] = outcome


def dead_letter_topics(evidence: Evidence) -> list[str]:
    return [name for name in evidence.topics if name.endswith(DEAD_LETTERS)]
