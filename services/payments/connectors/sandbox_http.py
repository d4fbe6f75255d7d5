"""The simulated acquirer where it runs by itself: the same questions over HTTP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, SecretStr, ValidationError
from yarl import URL

from shared.contracts.sandbox import MovementPage, SandboxLookUp, SandboxOutcome, SandboxRequest, Whose
from shared.faults import OutcomeUnknown
from shared.outbound import Answer, Failing, Limits, NoAnswer, Outbound

M = TypeVar("M", bound=BaseModel)

_LIMITS = Limits(connect_s=5.0, total_s=9.0, body_s=1.0, body_bytes=256 * 1024)
"""Less than a connector's own time limit, so that the reason is told."""
_PAGE = 100
_BEFORE_SENDING: frozenset[Failing] = frozenset({"dns", "connect", "tls"})


class NotReached(Exception):
    """No connection could be made, so nothing was sent."""


class HttpAcquirer:
    """See `Acquirer`; also raises `NotReached`. Connects at its first call, until it is closed."""

    def __init__(self, url: str, secret: SecretStr) -> None:
        self._url, self._secret = URL(url) / "sandbox" / "v1", secret
        self._outbound: Outbound | None = None

    async def ask(self, request: SandboxRequest) -> SandboxOutcome:
        """Do it, once."""
        return await self._outcome("attempts", request)

    async def look_up(self, wanted: SandboxLookUp) -> SandboxOutcome:
        """What became of an attempt."""
        return await self._outcome("look-ups", wanted)

    async def movements(
        self,
        whose: Whose,
        page_token: str | None = None,
        *,
        made_from: datetime | None = None,
        order_ids: Sequence[str] = (),
    ) -> MovementPage:
        """A page of the ledger."""
        asked = {
            "page_size": str(_PAGE),
            "page_token": page_token,
            "made_from": made_from.isoformat() if made_from else None,
            "order_ids": ",".join(order_ids) or None,
        }
        query = whose.model_dump() | {name: value for name, value in asked.items() if value is not None}
        found = await self._send((self._url / "movements").with_query(query), None)
        return _read({"movements": found["data"], "next_page_token": found.get("next_page_token")}, MovementPage)

    async def close(self) -> None:
        """Nothing is connected afterwards."""
        outbound, self._outbound = self._outbound, None
        if outbound is not None:
            await outbound.__aexit__()

    async def _outcome(self, path: str, body: BaseModel) -> SandboxOutcome:
        found = await self._send(self._url / path, body.model_dump_json(exclude_none=True).encode())
        return _read(found["data"], SandboxOutcome)

    async def _send(self, url: URL, body: bytes | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._secret.get_secret_value()}"}
        outbound = await self._connected()
        try:
            if body is None:
                return _content(await outbound.get(url, headers))
            return _content(await outbound.post(url, body, headers | {"Content-Type": "application/json"}))
        except NoAnswer as none:
            if none.failing in _BEFORE_SENDING:
                raise NotReached(f"the sandbox was not reached: {none.failing}") from none
            raise OutcomeUnknown(f"the sandbox did not answer: {none.failing}") from none

    async def _connected(self) -> Outbound:
        if self._outbound is None:
            # Nobody outside says where to connect to, so there is no address that must not be.
            self._outbound = await Outbound(lambda _: True, _LIMITS).__aenter__()
        return self._outbound


def _content(answer: Answer) -> dict[str, Any]:
    """What was answered well; anything else says nothing of whether money moved."""
    if answer.status != 200:
        raise OutcomeUnknown(f"the sandbox answered {answer.status}")
    try:
        content = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict) or "data" not in content:
        raise OutcomeUnknown("the sandbox answered what nobody can read")
    return content


def _read(found: object, model: type[M]) -> M:
    try:
        return model.model_validate(found)
    except ValidationError:
        raise OutcomeUnknown("the sandbox answered what nobody can read") from None
