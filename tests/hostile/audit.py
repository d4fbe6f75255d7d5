"""The auditor: every position that was sent has exactly one fate, and the known money is exact."""

import zlib
from collections import Counter
from dataclasses import dataclass, field

from shared.topics import ACCESS_GRANTS
from tests.hostile.evidence import Evidence, Json, content_of
from tests.hostile.messages import Honest, Message, Must
from tests.hostile.model import (
    Claim,
    Command,
    Granted,
    Private,
    Public,
    Reply,
    Told,
    Uses,
    Version,
    claim_of,
)
from tests.hostile.sending import Position

REASONS = frozenset(
    """
    NOT_A_CLOUDEVENT UNSUPPORTED_SPECVERSION MISSING_ATTRIBUTE INVALID_ATTRIBUTE INVALID_KEY EMPTY_BODY INVALID_BODY
    UNSUPPORTED_CONTENT_TYPE TOO_LARGE UNKNOWN_TYPE UNKNOWN_VERSION MISSING_KEY KEY_MISMATCH MISSING_TENANT
    COMMAND_ID_TOO_LONG SOURCE_MISMATCH UNKNOWN_CHANNEL CHANNEL_DISABLED INVALID_AMOUNT INVALID_CURRENCY
    """.split()
)
"""Every reason that is a statement about the message. `HANDLER_FAILED` is a statement about us."""
NO_GRANT = "NO_GRANT"
_MOST_OF_A_KIND = 20
_WRONG_LOG_EVENTS = (
    "consumer_restarts",
    "consumer_broken",
    "background_task_failed",
    "grants tail failed",
    "grants tail interrupted",
    "batch_run_one_by_one",
)


@dataclass(slots=True)
class Entry:
    """What is remembered of one message that was sent."""

    topic: str
    kind: str
    must: Must
    claim: Claim | None
    checksum: int


@dataclass
class Findings:
    """Each finding is a sentence, under what kind of fault it is."""

    wrong: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)

    def add(self, fault: str, text: str) -> None:
        self.counts[fault] += 1
        told = self.wrong.setdefault(fault, [])
        if len(told) < _MOST_OF_A_KIND:
            told.append(text)


def entry_of(message: Message) -> Entry:
    must = message.must
    claim = claim_of(message)
    if isinstance(claim, Reply) and not claim.ours and b"/services/payments" not in (message.value or b""):
        # The outcomes of others' commands are told apart before anything is read.
        must = Must.TAKEN
    return Entry(message.topic, message.kind, must, claim, zlib.crc32(message.value or b""))


def audit(ledger: dict[Position, Entry], evidence: Evidence, findings: Findings) -> None:
    """Everything that is wrong with what became of these messages."""
    told = Counter(entry.claim for entry in ledger.values() if entry.claim is not None)
    seen: set[Claim] = set()
    for position in sorted(ledger):
        entry = ledger[position]
        reasons = _reasons(position, entry, evidence, findings)
        where = f"{entry.kind} at {position}"
        if reasons:
            if entry.must is Must.TAKEN:
                findings.add("refused although it is right", f"{where}: {reasons[0]}")
            if entry.claim is not None and told[entry.claim] == 1 and (trace := _trace(entry, position, evidence)):
                findings.add("two fates", f"{where}: {reasons[0]} and {trace}, {entry.claim}")
            findings.fates[f"{_group(entry.topic)}: dead letter, {reasons[0]}"] += 1
            continue
        if entry.must is Must.DEAD:
            findings.add("taken although it is wrong", where)
        trace = _trace(entry, position, evidence)
        if trace is None:
            findings.add("without a fate", f"{where}: claims {entry.claim}")
            continue
        if entry.claim in seen and isinstance(entry.claim, Command | Told):
            trace = "known already"
        seen.add(entry.claim)  # type: ignore[arg-type]  # what has a trace has a claim
        findings.fates[f"{_group(entry.topic)}: {trace}"] += 1
    for position, letters in evidence.letters.items():
        if position not in ledger:
            findings.add("a service's own message is a dead letter", f"{position}: {letters[0].reason}")
        if len({letter.reason for letter in letters}) > 1:
            findings.add("two fates", f"{position}: {letters}")
    for text in evidence.hidden_money:
        findings.add("money that nobody is shown", text)


def audit_money(honest: list[Honest], shown: dict[str, Json], findings: Findings) -> None:
    """The orders that everybody was honest about have exactly their money."""
    for order in honest:
        found = shown.get(order.order_id)
        if found is None:
            findings.add("known money", f"{order.order_id} is not there")
            continue
        pricing, settlement = found["pricing"], found["settlement"]
        legs = {leg["payment_reference"]: leg for leg in map(_leg, found["payments"])}
        captured, refunded = sum(order.captures.values()), sum(order.refunds.values())
        sums = [
            ("total", order.price + order.tip, pricing["total_money"]["amount"]),
            ("captured", captured, settlement["captured_money"]["amount"]),
            ("refunded", refunded, settlement["refunded_money"]["amount"]),
            ("payments", sorted(order.captures), sorted(legs)),
        ]
        for what, expected, actual in sums:
            if expected != actual:
                findings.add("known money", f"{order.order_id}: {what} is {actual}, must be {expected}")
        findings.counts["orders with known money"] += 1


def audit_logs(evidence: Evidence, findings: Findings) -> None:
    """Nothing stopped, nothing was our mistake, and no payload was written down."""
    for service, logged in evidence.logged.items():
        for line in logged.leaks:
            findings.add("payload in the log", f"{service}: {line}")
        for text, count in logged.errors.items():
            findings.add("error in the log", f"{service}: {count} times {text}")
        for name in _WRONG_LOG_EVENTS:
            if logged.events[name]:
                findings.add("stopped or stumbled", f"{service}: {logged.events[name]} times {name}")


def _leg(shown: Json) -> Json:
    return {"payment_reference": shown["reference"]} | shown


def _reasons(position: Position, entry: Entry, evidence: Evidence, findings: Findings) -> list[str]:
    """Why this message was given up, if it was."""
    if entry.topic == ACCESS_GRANTS:
        skipped = [position[1:] in logged.no_grants for logged in evidence.logged.values()]
        if any(skipped) and not all(skipped):
            findings.add("two fates", f"{entry.kind} at {position}: only some services skipped it")
        return [NO_GRANT] if any(skipped) else []
    letters = evidence.letters.get(position, [])
    for letter in letters:
        if letter.reason not in REASONS:
            findings.add("our mistake", f"{entry.kind} at {position}: {letter.reason}")
        if letter.checksum is not None and letter.checksum != entry.checksum:
            findings.add("changed on its way", f"{entry.kind} at {position}")
    return [letter.reason for letter in letters]


def _trace(entry: Entry, position: Position, evidence: Evidence) -> str | None:
    """What is left of a message that was taken."""
    match entry.claim:
        case Command() as command:
            code = evidence.outcomes.get(command)
            if code is None or evidence.replies.get(command) != {code}:
                return None
            return f"refused, {code}" if code else "applied"
        case Told() as told:
            return _trace_of_told(told, evidence)
        case Version(order_id, version):
            known_version = evidence.versions.get(order_id)
            return "known" if known_version is not None and known_version >= version else None
        case Reply(ours):
            return "to a command that nobody waits for" if ours else "for others"
        case Uses():
            return "of keys that nobody has"
        case Public() as public:
            return "told to the public" if public in evidence.public else None
        case Private():
            return "not for the public"
        case Granted(credential_hash, tombstone):
            known = [grants.get(credential_hash) for grants in evidence.grants.values()]
            if tombstone:
                active = [each for each in known if each and each[0] == "active" and each[1] <= position[2]]
                return None if active else "kept"
            return "kept" if all(each and each[1] >= position[2] for each in known) else None
        case _:
            return None


def _trace_of_told(told: Told, evidence: Evidence) -> str | None:
    said = (told.reference, told.order_id, told.external_reference, told.amount, told.currency)
    if said in evidence.conflicts:
        return "shown as a conflict"
    row = evidence.events.get(told.reference)
    if row is None or row["status"] == "sent":
        return None
    first = content_of(told.reference, row["body"])
    names_agree = all(
        one is None or other is None or one == other for one, other in zip(said[1:3], first[1:3], strict=True)
    )
    return str(row["status"]) if names_agree and said[3:] == first[3:] else None


def _group(topic: str) -> str:
    return "channels" if topic.startswith("channels.") else topic
