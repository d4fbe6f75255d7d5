"""A merchant that lets the plugin in, throws it out, and lets it in again, while the run goes on."""

import asyncio
import time
from random import Random

import httpx2

from shared.ids import new_id
from tests.chaos.merchants import Merchant
from tests.chaos.plugin import Plugin, Session
from tests.chaos.system import System

_INSIDE_S, _OUTSIDE_S = (4.0, 15.0), (1.0, 3.0)
_ASK_EVERY_S = 0.05
_TIMEOUT = httpx2.Timeout(5)


async def come_and_go(system: System, plugin: Plugin, merchant: Merchant, random: Random, over: asyncio.Event) -> None:
    """In and out until it is over; out in the end."""
    while not over.is_set():
        session = await plugin.enter(merchant)
        listening = asyncio.create_task(plugin.listen(session))
        await _while_it_goes_on(over, random.uniform(*_INSIDE_S))
        await listening
        await _throw_out(system, plugin, session)
        await _while_it_goes_on(over, random.uniform(*_OUTSIDE_S))


async def _while_it_goes_on(over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        return


async def _throw_out(system: System, plugin: Plugin, session: Session) -> None:
    """Revoked by the merchant's key; it is noted how long each door was open after the answer."""
    install, key = session.install, new_id("idem")
    path = f"/v1/developer/partner/apps/{plugin.app_id}/installs/{session.install_id}/revoke"
    async with session.lock:
        # A token that is being exchanged right now would be refused, and the merchant asked again.
        install.revoking_at = time.time()
    while install.revoked_at is None:
        try:
            answer = await session.merchant.apps.post(path, headers={"Idempotency-Key": key}, timeout=_TIMEOUT)
        except httpx2.HTTPError as error:
            plugin.journal.errors[f"revoke: {type(error).__name__}"] += 1
        else:
            if answer.is_success:
                install.revoked_at = time.time()
                break
            plugin.journal.errors[f"revoke: {answer.status_code}"] += 1
            if answer.status_code not in (409, 503):
                plugin.journal.oddities.append(f"revoke: {answer.status_code} {answer.text[:300]}")
        await asyncio.sleep(0.2)
    doors = {
        "HTTP of orders": f"{system.orders_url}/v1/orders?page_size=1",
        "HTTP of payments": f"{system.payments_url}/v1/unmatched-money?page_size=1",
        "HTTP of apps": f"{system.apps_url}/v1/events?page_size=1",
    }
    await asyncio.gather(*(_shut(plugin, session, *door) for door in doors.items()))
    if session.following is not None:
        await session.following


async def _shut(plugin: Plugin, session: Session, door: str, url: str) -> None:
    """Asks until it is refused; open it was until it last let somebody in, which no answer and a 503 do not."""
    revoked_at = session.install.revoked_at or 0.0
    open_until = revoked_at
    while True:
        asked_at = time.time()
        match await plugin.status_of(session, url):
            case 401:
                session.install.shut_after_s[door] = max(0.0, open_until - revoked_at)
                return
            case 200:
                open_until = asked_at
        await asyncio.sleep(_ASK_EVERY_S)
