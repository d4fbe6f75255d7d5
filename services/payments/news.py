"""Replies of orders and answers of processors, and what they change in the groups that a transaction has locked."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.payments.core.asking import Approved, Declined, Found
from services.payments.core.intents.answers import answered, ended_challenge, gave_back, too_late
from services.payments.core.intents.moves import Moves, intent_of
from services.payments.core.intents.replies import Reply, replied
from services.payments.core.intents.state import Attempt, Intent, Refused, ends_challenge
from services.payments.core.intents.surplus import item_for_reply
from services.payments.core.state import Item


@dataclass(frozen=True, slots=True)
class Answered:
    """What a processor answered; `None` where it was too late to ask."""

    attempt: Attempt
    answer: Found | None


News = tuple[Reply, ...] | Answered
"""Replies that came together are followed together."""


class Groups:
    """The groups that a transaction has locked or makes, each with what follows in it."""

    def __init__(self, groups: Iterable[Sequence[Intent]], now: datetime) -> None:
        self._now = now
        self.moves = [Moves(group, now) for group in groups]
        self._by_intent = {key: moves for moves in self.moves for key in moves.ids}

    def of(self, payment_intent_id: str) -> Moves | None:
        return self._by_intent.get(payment_intent_id)

    def make(self, made: Sequence[Intent], wish: Callable[[Moves], Refused | None]) -> Moves | Refused:
        """A new group, unless what is wished for it is refused."""
        moves = Moves((), self._now)
        for intent in made:
            moves.make(intent)
        refused = wish(moves)
        if refused is not None:
            return refused
        self.moves.append(moves)
        return moves


def about(news: News) -> Iterable[str]:
    """The intents that it is about."""
    if isinstance(news, Answered):
        return [news.attempt.asked.payment_intent_id]
    return [intent_of(reply.command_id) for reply in news]


def surplus(known: Groups, replies: Sequence[Reply], now: datetime) -> Iterator[Item]:
    """Money that turns out not to be owed, after these replies."""
    for reply in replies:
        name = intent_of(reply.command_id)
        moves = known.of(name)
        if moves is None:
            continue
        before = moves[name]
        if replied(moves, name, reply) and (item := item_for_reply(before, reply, now)):
            yield item


def recorded(known: Groups, news: Answered) -> Iterator[Attempt]:
    """The attempt with its answer, unless it had one before."""
    attempt, answer = news.attempt, news.answer
    moves = known.of(attempt.asked.payment_intent_id)
    assert moves is not None, "an attempt has an intent"
    if attempt.operation == "refund" and answer is not None:
        after = gave_back(moves, attempt, answer)
    elif ends_challenge(attempt) and answer is not None:
        after = ended_challenge(moves, attempt, answer)
    else:
        after = too_late(moves, attempt) if answer is None else answered(moves, attempt, answer)
    if after is not None:
        yield after


def refunds_of(news: Answered, after: Iterable[Attempt]) -> Iterator[tuple[Approved | None, Attempt]]:
    """Refunds of which something is known now that was not known before, each with what was approved then."""
    before = news.attempt.answer if isinstance(news.attempt.answer, Approved) else None
    for attempt in after:
        known = attempt.operation == "refund" and isinstance(attempt.answer, Approved | Declined)
        if known and attempt.answer != before:
            yield before, attempt
