"""Asks every process for its health during the run, and does what an orchestrator does."""

import asyncio

import httpx2

from tests.chaos.health import Answer
from tests.chaos.inject import Run

_ASK_EVERY_S = 0.5
_DEAD_FOR_S = 10.0


async def watch(this: Run) -> None:
    """Asks every process for its health again and again, and does what an orchestrator does.

    It starts again what ended by itself, and what says for long that it is not alive. Both are noted, because they
    should not be needed.
    """
    async with httpx2.AsyncClient(timeout=3) as client:
        await asyncio.gather(*(_watch_one(this, client, name) for name in this.system.services))


async def _watch_one(this: Run, client: httpx2.AsyncClient, name: str) -> None:
    service = this.system.services[name]
    alive_at = this.now_s()
    while True:
        await asyncio.sleep(_ASK_EVERY_S)
        asked = this.now_s()
        (live, why), (ready, why_not) = await asyncio.gather(
            _status(client, f"{service.url}/livez"), _status(client, f"{service.url}/readyz")
        )
        this.answers.append(Answer(name, asked, this.now_s(), live, ready, why or why_not))
        if live in (None, 200):
            alive_at = this.now_s()
        ended = service.wanted and not service.running
        if ended:
            this.world.journal.oddities.append(f"{this.now_s():.0f} s: {name} ended by itself")
        if ended or (service.wanted and this.now_s() - alive_at > _DEAD_FOR_S):
            service.kill()
            service.start()
            alive_at = this.now_s()


async def _status(client: httpx2.AsyncClient, url: str) -> tuple[int | None, str]:
    try:
        answer = await client.get(url)
    except httpx2.HTTPError:
        return None, ""
    return answer.status_code, "" if answer.status_code == 200 else answer.text[:300]
