"""The sandbox as somebody far away, who can be down or silent, and goes on when whoever asked has died."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from services.payments.connectors.guarded import Circuit, GuardedConnector
from services.payments.connectors.manual import ManualConnector
from services.payments.connectors.sandbox import SandboxConnector
from services.payments.connectors.sandbox_http import NotReached
from shared.contracts.sandbox import Acquirer, SandboxLookUp, SandboxRequest, Whose
from shared.settings import SandboxSettings
from tests.killable import elsewhere

_CALLS_AT_ONCE = SandboxSettings().concurrency
Trouble = Callable[[int], str | None]
"""What befalls the question with this number: `down`, it cannot be sent; `silent`, its answer does not come."""


class Elsewhere:
    """The acquirer, which goes on with what reached it when whoever asked has died."""

    def __init__(self, acquirer: Acquirer) -> None:
        self._acquirer = acquirer
        self.asked: set[asyncio.Task[Any]] = set()
        self.questions: list[str] = []
        """The attempts that it was asked to make or about, whether that reached it or not."""
        self.trouble: Trouble = lambda number: None
        self.answered: Callable[[], None] = lambda: None
        """Called before whoever asked has the answer."""
        self.unreachable_look_ups = 0
        """How many more cannot be sent."""

    async def ask(self, request: SandboxRequest) -> Any:
        self.questions.append(request.attempt_id)
        return await self._reach(partial(self._acquirer.ask, request))

    async def look_up(self, wanted: SandboxLookUp) -> Any:
        self.questions.append(wanted.attempt_id)
        if self.unreachable_look_ups:
            self.unreachable_look_ups -= 1
            raise NotReached("nobody listens")
        return await self._reach(partial(self._acquirer.look_up, wanted))

    async def movements(self, whose: Whose, page_token: str | None = None) -> Any:
        return await self._acquirer.movements(whose, page_token)

    async def _reach(self, question: Callable[[], Any]) -> Any:
        trouble = self.trouble(len(self.questions))
        if trouble == "down":
            raise NotReached("nobody listens")
        task = elsewhere(question())
        self.asked.add(task)
        task.add_done_callback(self._heard)
        answer = await asyncio.shield(task)
        self.answered()
        if trouble == "silent":
            await asyncio.Event().wait()
        return answer

    def _heard(self, task: "asyncio.Task[Any]") -> None:
        self.asked.discard(task)
        if not task.cancelled():
            task.exception()


class Connected:
    """The connectors of one process, with the acquirer and the circuit breaker that a test wants."""

    def __init__(self, acquirer: Acquirer, circuit: Circuit | None = None, time_limit_s: float = 10.0) -> None:
        self._sandbox = GuardedConnector(SandboxConnector(acquirer, time_limit_s), _CALLS_AT_ONCE, circuit=circuit)
        self._manual = ManualConnector()

    def named(self, name: str) -> Any:
        return self._manual if name == "manual" else self._sandbox
