"""The acquirer as the payments reach it: over a network that delays, loses and repeats, and keeps who asked what."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from services.payments.connectors.sandbox_http import NotReached
from shared.contracts.sandbox import MovementPage, SandboxLookUp, SandboxOutcome, SandboxRequest, Whose
from shared.faults import OutcomeUnknown, Poison, Transient
from tests.simulation.network import Link
from tests.simulation.postgres.engine import Database
from tests.simulation.world_api import NEVER_HEARD, OUR_CHANNEL, Question, Row

if TYPE_CHECKING:
    from tests.simulation.nodes import Node

T = TypeVar("T")
_LOST_ONE_IN, _AGAIN_ONE_IN, _LATE_ONE_IN = 40, 25, 12
_USUAL_S, _LATE_S, _AGAIN_S = (0.001, 0.02), (0.5, 15.0), (0.001, 20.0)
_HANGS_S = 9.0
"""How long a client waits for an answer that does not come."""
_MERCHANTS = ("mer_one", "mer_two")
_A_MOMENT = timedelta(seconds=1)


@dataclass
class Acquirers:
    """Its replicas, and every question that left a process for them."""

    random: Random
    payments: Database
    nodes: "list[Node]" = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    under_way: int = 0
    """Questions that have not arrived, or are not answered."""

    def client(self, link: Link) -> "Client":
        """One process's."""
        return Client(self, link)

    def note(self, asked: SandboxRequest | SandboxLookUp) -> None:
        """It leaves a process now."""
        now = asyncio.get_running_loop().time()
        saved = asked.attempt_id in self.payments["payment_attempts"].rows
        if isinstance(asked, SandboxLookUp):
            question = Question(now, asked.attempt_id, "look_up", saved=saved)
        else:
            about = (asked.order_id, asked.payment_intent_id, asked.amount_minor)
            question = Question(now, asked.attempt_id, asked.operation, *about, saved)
        self.questions.append(question)

    async def send(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """To one of the replicas, perhaps once more to another. Once it has left, the sender's end ends nothing."""
        repeated = self._chance(_AGAIN_ONE_IN)
        if repeated:
            again = asyncio.create_task(self._arrive(work, self.random.uniform(*_AGAIN_S)))
            again.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self._chance(_LOST_ONE_IN):
            await asyncio.sleep(_HANGS_S if self._chance(2) else 0.01)
            raise ConnectionResetError
        late = self._chance(_LATE_ONE_IN)
        first = asyncio.create_task(self._arrive(work, self.random.uniform(*(_LATE_S if late else _USUAL_S))))
        first.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            answer = await asyncio.shield(first)
        except ConnectionRefusedError:
            if repeated:
                # Who was refused has sent nothing; of this, a copy is on its way.
                raise ConnectionResetError from None
            raise
        if self._chance(_LOST_ONE_IN):
            raise ConnectionResetError
        return answer

    async def answer_challenge(self, url: str, *, approves: bool) -> None:
        """A buyer is on the page of a challenge; `ConnectionError` where that does not come through."""
        secret = url.rpartition("/")[2]
        try:
            await self.send(lambda process: process.acquirer.answer_challenge(secret, approves=approves))
        except Transient as trouble:
            raise ConnectionError from trouble

    async def settle(self) -> None:
        """Whatever runs out by itself has run out, in the ledger too."""
        for merchant_id in _MERCHANTS if self.nodes else ():
            whose = Whose(merchant_id=merchant_id, environment="test")
            await self.nodes[0].act(lambda process, whose=whose: process.acquirer.movements(whose))

    async def _arrive(self, work: Callable[[Any], Coroutine[Any, Any, T]], after_s: float) -> T:
        self.under_way += 1
        try:
            await asyncio.sleep(after_s)
            return await self.random.choice(self.nodes).act(work)
        finally:
            self.under_way -= 1

    def _chance(self, one_in: int) -> bool:
        return self.random.random() * one_in < 1


@dataclass
class Client:
    """`shared.contracts.sandbox.Acquirer` for one process, over its link."""

    acquirers: Acquirers
    link: Link

    async def ask(self, request: SandboxRequest) -> SandboxOutcome:
        """Do it, once."""
        return await self._asked(request, lambda process: process.acquirer.ask(request))

    async def look_up(self, wanted: SandboxLookUp) -> SandboxOutcome:
        """What became of an attempt."""
        return await self._asked(wanted, lambda process: process.acquirer.look_up(wanted))

    async def movements(
        self,
        whose: Whose,
        page_token: str | None = None,
        *,
        made_from: datetime | None = None,
        order_ids: Sequence[str] = (),
    ) -> MovementPage:
        """A page of the ledger."""
        return await self._sent(
            lambda process: process.acquirer.movements(whose, page_token, made_from=made_from, order_ids=order_ids)
        )

    async def _asked(
        self, asked: SandboxRequest | SandboxLookUp, work: Callable[[Any], Coroutine[Any, Any, SandboxOutcome]]
    ) -> SandboxOutcome:
        return await self._sent(work, lambda: self.acquirers.note(asked))

    async def _sent(self, work: Callable[[Any], Coroutine[Any, Any, T]], note: Callable[[], None] = lambda: None) -> T:
        await self.link.travel(lambda: NotReached("cut"))
        note()
        try:
            answer = await self.acquirers.send(work)
        except ConnectionRefusedError as refused:
            raise NotReached("nobody is there") from refused
        except (ConnectionError, Poison, Transient) as trouble:
            raise OutcomeUnknown(f"no answer: {trouble}") from trouble
        await self.link.travel(lambda: OutcomeUnknown("cut"))
        return answer


def intents_are_under_way(databases: dict[str, Database], now: datetime) -> bool:
    """Whether any intent, or what was asked for one, waits for something that comes without a buyer's doing."""
    payments, known = databases["payments"], databases["sandbox"]["attempts"]
    attempts, intents = payments["payment_attempts"], payments["payment_intents"]
    opened = [attempts.rows[key] for key in attempts.found("open", True)]
    in_vain = {row["payment_intent_id"] for row in opened if _is_in_vain(row, now)}
    if set(intents.found("under_way", True)) - in_vain:
        return True
    for row in (row for row in opened if row["payment_intent_id"] not in in_vain):
        if row["status"] == "watched" and not _comes_back(row):
            continue
        # A challenge waits for its buyer, until the acquirer knows how it ended.
        there = known.rows.get((row["merchant_id"], row["environment"], row["attempt_id"]))
        if row["status"] != "challenged" or there is None or there["outcome"] is not None:
            return True
    ends = [intents.rows[key]["authorization_ends_at"] for key in intents.found("holding", True)]
    return any(end is not None and end <= now for end in ends)


def _is_in_vain(attempt: Row, now: datetime) -> bool:
    """Whether it gets lost however often it is made, and is not made again within a moment."""
    asked = orjson.loads(attempt["asked"])
    return NEVER_HEARD.get(asked["means"]["token"]) == asked["operation"] and attempt["due_at"] > now + _A_MOMENT


def _comes_back(attempt: Row) -> bool:
    """Whether a refund that was approved is going to be sent back, or has been."""
    return bool(orjson.loads(attempt["asked"])["means"]["token"] == "sandbox_refund_fails_late")


def money_is_to_go_back(payments: Database) -> bool:
    """Whether a processor is to give something back that it has not refused yet, or its order is to hear of it."""
    items = payments["unmatched_money"]
    return any(
        row["status"] in ("open", "return_due", "returning") and may_go_back(row) and row["refusal"] is None
        for row in (items.rows[key] for key in items.found("unresolved", True))
    )


def may_go_back(item: Row) -> bool:
    """Whether a processor has collected it for an order that has it."""
    method = (orjson.loads(item["event"]).get("method") or {}).get("type")
    return item["channel_id"] == OUR_CHANNEL and item["kind"] in ("surplus", "closed_order") and method == "card"
