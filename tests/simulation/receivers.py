"""Receivers of webhooks, and the client that a process reaches them with: `shared.outbound.Outbound` in memory."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from random import Random
from typing import Any

import orjson
from yarl import URL

from shared.outbound import Answer, Limits, NoAnswer
from tests.simulation.books import Receiver
from tests.simulation.network import Link
from tests.simulation.postgres.engine import Database
from tests.simulation.world_api import Request

_ODD_ONE_IN = 12
_SLOW_S = (0.3, 3.0)
_WELL, _ODD, _GONE = 204, 503, 410


class Receivers:
    """All of them, and every request that reached one, in the order of time."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.by_url: dict[str, Receiver] = {}
        self.requests: list[Request] = []

    async def answer(self, url: str, event_id: str, body: bytes) -> int:
        """The status; raises `NoAnswer` where the receiver is not there, or hangs up after it has understood."""
        receiver, loop = self.by_url[url], asyncio.get_running_loop()
        if receiver.manner == "dead":
            await asyncio.sleep(Limits().total_s)
            raise NoAnswer("timeout")
        told = orjson.loads(body)
        request = Request(loop.time(), url, event_id, told)
        self.requests.append(request)
        odd = int(self._random.random() * _ODD_ONE_IN) if receiver.manner == "moody" else None
        if receiver.manner == "gone" and len(self.requests) > receiver.patience:
            return _GONE
        if odd == 0:
            return _ODD
        if odd == 1 or receiver.manner == "slow":
            await asyncio.sleep(self._random.uniform(*_SLOW_S))
        request.understood_s = loop.time()
        if odd == 2:
            raise NoAnswer("disconnected")
        return _WELL


class Client:
    """One process's, over its link."""

    def __init__(self, receivers: Receivers, link: Link) -> None:
        self._receivers, self._link = receivers, link

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Any:
        await self._link.travel(_disconnected)
        status = await self._receivers.answer(str(url), headers["webhook-id"], body)
        await self._link.travel(_disconnected)
        return Answer(status, {"Retry-After": "2"} if status == _ODD else {}, b"")


def webhooks_are_due(database: Database, now: datetime) -> bool:
    """Whether anything is to be sent at once to an endpoint that has not failed, or is to be canceled."""
    deliveries = database["webhook_deliveries"]
    waiting = deliveries.indexes["pending"].values()
    for endpoint in (row for row in database["webhook_endpoints"].rows.values() if row["endpoint_id"] in waiting):
        if endpoint["status"] != "active":
            return True
        if endpoint["failures"]:
            continue
        rows = [deliveries.rows[key] for key in deliveries.found("pending", endpoint["endpoint_id"])]
        rows.sort(key=itemgetter("seq"), reverse=True)
        # What comes later in its order waits for the first.
        heads = {row["order_id"]: row for row in rows}.values()
        if any(row["due_at"] <= now for row in heads):
            return True
    return False


def _disconnected() -> NoAnswer:
    return NoAnswer("disconnected")
