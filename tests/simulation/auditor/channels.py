"""Every fact that a channel told of is on its order once, or an item that somebody sees; garbage is a dead letter."""

from collections import Counter, defaultdict
from collections.abc import Iterable

import orjson

from tests.simulation.auditor.findings import Invariant
from tests.simulation.auditor.seen import Outcome, Placed, Seen, dead_letter_topics, header, record_of, wire_type
from tests.simulation.books import Content, Fact, Garbage, Record, Saying
from tests.simulation.world_api import DEAD_LETTERS, OF_INTENTS, OUR_CHANNEL, PAYMENTS_EVENTS, Json, Row, Told

_MOVES_MONEY = ("authorized", "captured", "refunded")
_REFUSED_AS = {"CURRENCY_MISMATCH": "currency", "PAYMENT_REFERENCE_REUSED": "conflict"}
_NOT_ON_ORDER = ("unknown_order", "currency", "conflict")

Expected = tuple[str, str, int | None, str | None, str | None]
"""Kind, status, amount, currency, order."""


def audit_channels(seen: Seen) -> None:
    """All that channels said; the orders have been judged before."""
    _Facts(seen).judge()
    _dead_letters(seen)
    _events(seen)


class _Facts:
    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.told = _told(seen)
        self.kept: dict[Fact, Row] = {}
        self.counting: dict[Fact, Content] = {}
        """What of a fact's contents counts."""
        self.items: dict[Fact, list[Row]] = defaultdict(list)
        for row in seen.rows("payments.channel_events"):
            body = orjson.loads(row["body"])
            fact = _fact(row["channel_id"], row["type"], body)
            if fact in self.kept:
                self.say(Invariant.NOTHING_TWICE, f"{fact} counts twice", row["order_id"])
            self.kept[fact], self.counting[fact] = row, _content(body)
        for row in seen.rows("payments.unmatched_money"):
            if row["channel_id"] == OUR_CHANNEL:
                # No channel told of it: `audit_intents` judges it.
                continue
            self.items[_fact(row["channel_id"], row["event_type"], orjson.loads(row["event"]))].append(row)
        self.by_reference: dict[tuple[str, str], list[str]] = defaultdict(list)
        for row in seen.orders.values():
            if row["external_reference"] is not None:
                self.by_reference[row["merchant_id"], row["external_reference"]].append(row["order_id"])

    def say(self, invariant: Invariant, sentence: str, order_id: str | None = None) -> None:
        self.seen.say(invariant, sentence, order_id)

    def judge(self) -> None:
        for fact, said in self.told.items():
            row = self.kept.get(fact)
            if row is not None:
                self._fact(fact, said, row)
            elif self.seen.finished:
                self.say(Invariant.NOTHING_LOST, f"nobody knows of {fact}", said[0].order_id)
        for fact in self.kept.keys() | self.items.keys() | self.seen.placed.keys():
            if fact not in self.told:
                self.say(Invariant.NOTHING_INVENTED, f"nobody told of {fact}")
        if self.seen.finished:
            self._sums()

    def _fact(self, fact: Fact, said: list[Saying], row: Row) -> None:
        stands = self._standing(fact, said)
        if stands is None:
            self.say(Invariant.NOTHING_INVENTED, f"{fact} counts with something that nobody said", row["order_id"])
            return
        placed = self.seen.placed.get(fact, ())
        if len(placed) > 1:
            self.say(Invariant.NOTHING_TWICE, f"{fact} is on orders {len(placed)} times", placed[0].order_id)
        for each in placed:
            if (each.amount, stands.currency or each.currency) != (stands.amount, each.currency):
                self.say(Invariant.MONEY_IN_IS_SOMEWHERE, f"{fact} is on its order with {each.amount}", each.order_id)
            if not self._may_be_for(stands, each.order_id):
                self.say(Invariant.NOTHING_INVENTED, f"{fact} is on an order that it does not name", each.order_id)
        right = Counter(self._of_kept(fact, stands, row, placed))
        right.update(_conflict(each) for each in said if each.contradicts(stands))
        self._compare(fact, right, stands)

    def _standing(self, fact: Fact, said: list[Saying]) -> Saying | None:
        counts = self.counting.get(fact)
        return next((each for each in said if each.content == counts), None)

    def _of_kept(self, fact: Fact, stands: Saying, row: Row, placed: Iterable[Placed]) -> Iterable[Expected]:
        """The items about what stands, by what became of it."""
        moved = fact[1] in _MOVES_MONEY
        match row["status"]:
            case "applied":
                outcome = self._outcome(row)
                if outcome is None or outcome.code is not None or outcome.version != row["order_version"]:
                    self.say(Invariant.DOES_WHAT_IT_SAYS, f"{fact} counts as applied, and is not", row["order_id"])
                    return
                if moved and not any(each.version == outcome.version for each in placed):
                    self.say(Invariant.NOTHING_LOST, f"{fact} counts as applied, and is not there", row["order_id"])
                yield from self._beyond(fact, stands, row["order_id"], outcome)
            case "refused":
                outcome = self._outcome(row)
                if outcome is None or outcome.code != row["refusal"] or placed:
                    self.say(Invariant.DOES_WHAT_IT_SAYS, f"{fact} counts as refused, and is not", row["order_id"])
                if row["refusal"] not in _REFUSED_AS:
                    self.say(Invariant.FACTS_ARE_TAKEN, f"{fact} counts as {row['refusal']}", row["order_id"])
                if moved:
                    kind = _REFUSED_AS.get(row["refusal"], "conflict")
                    yield kind, "open", stands.amount, stands.currency, row["order_id"]
            case "waiting" | "held":
                self._waits(fact, stands, row, placed)
                if moved:
                    yield "unknown_order", "open", stands.amount, stands.currency, stands.order_id
            case _ if self.seen.finished:
                self.say(Invariant.NOTHING_SENT_FOR_EVER, f"{fact} waits for its outcome", row["order_id"])

    def _beyond(self, fact: Fact, stands: Saying, order_id: str, outcome: Outcome) -> Iterable[Expected]:
        """Money that the order took and that somebody must look at."""
        if "order_status" in outcome.facts and fact[1] == "captured":
            yield "closed_order", "open", stands.amount, stands.currency, order_id
        elif surplus := outcome.facts.get("surplus_minor"):
            yield "surplus", "open", surplus, stands.currency, order_id

    def _outcome(self, row: Row) -> Outcome | None:
        return self.seen.outcomes.get(row["order_id"], {}).get(row["command_id"])

    def _waits(self, fact: Fact, stands: Saying, row: Row, placed: Iterable[Placed]) -> None:
        if any(True for _ in placed):
            self.say(Invariant.DOES_WHAT_IT_SAYS, f"{fact} waits, and is on an order", stands.order_id)
        known = self._candidates(stands)
        if self.seen.finished and (len(known) > 1) != (row["status"] == "held"):
            self.say(
                Invariant.NOTHING_LOST, f"{fact} is {row['status']} although {known} answer to it", row["order_id"]
            )
        elif self.seen.finished and len(known) == 1:
            self.say(Invariant.NOTHING_LOST, f"{fact} waits for {known[0]}, which is there", known[0])

    def _candidates(self, said: Saying) -> list[str]:
        """The orders of the channel's merchant that answer to the name."""
        order = self.seen.orders.get(said.order_id) if said.order_id else None
        if order is not None and order["merchant_id"] == said.merchant_id:
            return [order["order_id"]]
        if said.external_reference is None:
            return []
        return self.by_reference.get((said.merchant_id, said.external_reference), [])

    def _may_be_for(self, said: Saying, order_id: str) -> bool:
        order = self.seen.orders.get(order_id)
        if order is None or order["merchant_id"] != said.merchant_id:
            return False
        return said.order_id == order_id or order["external_reference"] == said.external_reference is not None

    def _compare(self, fact: Fact, right: Counter[Expected], stands: Saying) -> None:
        """Items that are there, less those whose cause has come to an end."""
        there: Counter[Expected] = Counter()
        for row in self.items.get(fact, ()):
            status = "open" if row["status"] == "return_due" else row["status"]
            item: Expected = (row["kind"], status, row["amount_minor"], row["currency"], row["order_id"])
            ended = row["kind"] == "unknown_order" and row["status"] in ("attached", "replaced")
            if ended and self.kept[fact]["status"] in ("applied", "refused"):
                if row["order_id"] != self.kept[fact]["order_id"] or row["amount_minor"] != stands.amount:
                    self.say(Invariant.UNMATCHED_AS_EXPECTED, f"{fact} was attached to another order", row["order_id"])
            else:
                there[item] += 1
        if self.kept[fact]["status"] == "sent":
            there = Counter({item: count for item, count in there.items() if item[0] != "unknown_order"})
        extra, missing = there - right, right - there
        if not self.seen.finished:
            # What a channel has said may not have been read yet.
            missing = Counter({item: count for item, count in missing.items() if item[0] != "conflict"})
        if extra or missing:
            sentence = f"{fact}: items {list(extra)} are too many, {list(missing)} are missing"
            self.say(Invariant.UNMATCHED_AS_EXPECTED, sentence, stands.order_id or self.kept[fact]["order_id"])

    def _sums(self) -> None:
        """Per merchant, currency and kind: what was said is what orders took and what is open."""
        said: Counter[tuple[str, str | None, str]] = Counter()
        found: Counter[tuple[str, str | None, str]] = Counter()
        for fact, sayings in self.told.items():
            stands = self._standing(fact, sayings) or sayings[0]
            for each in sayings:
                if each is stands or each.contradicts(stands):
                    said[each.merchant_id, each.currency, fact[1]] += each.amount or 0
        for fact, placed in self.seen.placed.items():
            for one in placed:
                currency = one.currency if one.amount is not None else None
                found[one.merchant_id, currency, fact[1]] += one.amount or 0
        for fact, rows in self.items.items():
            for row in rows:
                if row["status"] in ("open", "return_due") and row["kind"] in _NOT_ON_ORDER:
                    found[row["merchant_id"], row["currency"], fact[1]] += row["amount_minor"] or 0
        for account in said.keys() | found.keys():
            if account[2] in _MOVES_MONEY and said[account] != found[account]:
                told = f"{account}: {said[account]} told of, {found[account]} on orders or unmatched"
                self.say(Invariant.MONEY_IN_IS_SOMEWHERE, told)


def _conflict(said: Saying) -> Expected:
    return "conflict", "open", said.amount, said.currency, said.order_id


def _told(seen: Seen) -> dict[Fact, list[Saying]]:
    """What lies on the channels' topics, each content once."""
    found: dict[Fact, list[Saying]] = {}
    lying: set[Record] = set()
    for topic, records in seen.evidence.topics.items():
        if not topic.startswith("channels.") or topic.endswith(DEAD_LETTERS):
            continue
        for told in records:
            record = record_of(told)
            if record in lying:
                continue
            lying.add(record)
            entry = seen.books.records.get(record)
            if entry is None:
                seen.say(
                    Invariant.NOTHING_INVENTED, f"nobody wrote the record {told.partition}/{told.offset} of {topic}"
                )
            elif isinstance(entry, Saying):
                said = found.setdefault(entry.fact, [])
                if entry not in said:
                    said.append(entry)
    for entry in (each for said in seen.books.sayings.values() for each in said):
        if entry.acknowledged and entry not in found.get(entry.fact, ()):
            seen.say(Invariant.NOTHING_LOST, f"what was said is not on its topic: {entry.fact}", entry.order_id)
    return found


def _fact(channel_id: str, wire_type: str, body: Json) -> Fact:
    kind = wire_type[16:-3]
    detail = body.get("refund_reference" if kind == "refunded" else "capture_reference")
    return channel_id, kind, body["payment_reference"], detail


def _content(body: Json) -> Content:
    money = body.get("amount_money") or {}
    return body.get("order_id"), body.get("external_reference"), money.get("amount"), money.get("currency")


def _dead_letters(seen: Seen) -> None:
    """Garbage has a letter with its reason, its place and its bytes; nothing else has one."""
    letters: dict[tuple[str, str, str], Told] = {}
    lying: set[Record] = set()
    garbage = {record: entry for record, entry in seen.books.records.items() if isinstance(entry, Garbage)}
    for name in dead_letter_topics(seen.evidence):
        for told in seen.topic(name):
            topic = header(told, "tl_topic")
            letters[topic, header(told, "tl_partition"), header(told, "tl_offset")] = told
            if topic + DEAD_LETTERS != name:
                seen.say(Invariant.GARBAGE_IS_A_DEAD_LETTER, f"a letter of {topic} lies in {name}")
    for topic in sorted({record[0] for record in garbage} | {topic for topic, _, _ in letters}):
        for told in seen.topic(topic):
            record, place = record_of(told), (topic, str(told.partition), str(told.offset))
            entry = garbage.get(record)
            if entry is not None:
                lying.add(record)
            _letter(seen, entry, letters.pop(place, None), told, place)
    for record, entry in garbage.items():
        if entry.acknowledged and record not in lying:
            seen.say(Invariant.NOTHING_LOST, f"acknowledged garbage is not on {record[0]}")
    for place in letters:
        seen.say(Invariant.GARBAGE_IS_A_DEAD_LETTER, f"a letter about {place}, where nothing lies")


def _letter(seen: Seen, entry: Garbage | None, letter: Told | None, told: Told, place: tuple[str, str, str]) -> None:
    if entry is None:
        if letter is not None:
            reason = header(letter, "tl_reason")
            seen.say(Invariant.GARBAGE_IS_A_DEAD_LETTER, f"{place} can be read, and is a dead letter: {reason}")
    elif letter is None:
        if seen.finished:
            seen.say(Invariant.GARBAGE_IS_A_DEAD_LETTER, f"{place} is garbage without a letter: {entry.reason}")
    elif (header(letter, "tl_reason"), letter.value or b"") != (entry.reason, told.value or b""):
        said = header(letter, "tl_reason")
        seen.say(Invariant.GARBAGE_IS_A_DEAD_LETTER, f"the letter about {place} says {said}, not {entry.reason}")


def _events(seen: Seen) -> None:
    """Of every item and every outcome one message tells, in the same words however often."""
    said: dict[str, bytes | None] = {}
    kinds: dict[str, set[str]] = defaultdict(set)
    for told in seen.topic(PAYMENTS_EVENTS):
        message_id = header(told, "ce_id")
        if said.setdefault(message_id, told.value) != told.value:
            seen.say(Invariant.REPEATS_SAY_THE_SAME, f"{message_id} on {PAYMENTS_EVENTS} says two things")
        if wire_type(told).startswith(OF_INTENTS):
            continue
        kinds[message_id.rpartition(".")[0]].add(wire_type(told)[9:-3])
    for row in seen.rows("payments.unmatched_money"):
        ended = (
            {f"unmatched_money_{row['status']}"} if row["status"] in ("attached", "returned", "dismissed") else set()
        )
        right = {"unmatched_money_found"} | ended
        _one_of_each(seen, row["unmatched_money_id"], right, kinds.pop(row["unmatched_money_id"], set()))
    for row in seen.rows("payments.channel_events"):
        right = {f"channel_event_{row['status']}"} if row["status"] in ("applied", "refused") else set()
        _one_of_each(seen, row["channel_event_id"], right, kinds.pop(row["channel_event_id"], set()))
    for message_id in kinds:
        seen.say(Invariant.NOTHING_INVENTED, f"{PAYMENTS_EVENTS} tells of {message_id}, which is not there")


def _one_of_each(seen: Seen, name: str, right: set[str], told: set[str]) -> None:
    if told - right:
        seen.say(Invariant.NOTHING_INVENTED, f"{PAYMENTS_EVENTS} tells {sorted(told - right)} of {name}")
    if seen.finished and right - told:
        seen.say(Invariant.NOTHING_LOST, f"{PAYMENTS_EVENTS} does not tell {sorted(right - told)} of {name}")
