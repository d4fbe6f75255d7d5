"""Calls to the sandbox that take five seconds, a thousand at once."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from bench.fleet import Running
from bench.machine import Machine
from bench.workload import ENVIRONMENT, MERCHANT
from deploy.local.ports import HOST
from services.payments.core.asking import Means
from services.payments.core.intents import group
from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Intent
from services.payments.store import attempts, intents
from shared.clock import utc_now
from shared.contracts.model import Actor
from shared.ids import new_id
from shared.postgres import Pool, transaction
from shared.writes import write

_PATIENCE_S = 60.0
_LOOK_EVERY_S = 0.1
_CALLS = re.compile(r'^throughline_connector_calls_in_flight\{connector="sandbox"\} ([\d.]+)', re.MULTILINE)


@asynccontextmanager
async def in_flight(here: Machine, payments: Running, count: int) -> AsyncIterator[None]:
    """So many calls are under way when the context begins; when it has ended, none is.

    They are saved as due attempts that are nobody's, of orders that nobody knows, so that making them costs next to
    nothing.
    """
    pool = Pool(here.settings.database_url.get_secret_value(), "payments", 2)
    await pool.open()
    try:
        async with transaction(pool) as connection:
            moves = [_due() for _ in range(count)]
            due = [attempt for each in moves for attempt in each.attempts]
            changed = [intent for each in moves for intent in each.changed]
            await write(connection, intents.saved(changed), attempts.saved(due, []))
    finally:
        await pool.close()
    async with asyncio.timeout(_PATIENCE_S):
        while await _calls(payments) < count:
            await asyncio.sleep(_LOOK_EVERY_S)
    yield
    async with asyncio.timeout(_PATIENCE_S):
        while await _calls(payments):
            await asyncio.sleep(_LOOK_EVERY_S)


async def _calls(payments: Running) -> float:
    async with httpx2.AsyncClient(base_url=f"http://{HOST}:{payments.port}") as client:
        found = _CALLS.search((await client.get("/metrics")).text)
    return float(found[1]) if found else 0.0


def _due() -> Moves:
    now, name = utc_now(), new_id("pi")
    intent = Intent(
        payment_intent_id=name,
        merchant_id=MERCHANT,
        environment=ENVIRONMENT,
        order_id=new_id("ord"),
        amount_minor=100,
        currency="EUR",
        created_by=Actor(type="service", id="bench"),
        created_at=now,
        updated_at=now,
        group_id=name,
        means=Means("card", "sandbox_slow"),
        connector="sandbox",
        tries=1,
    )
    moves = Moves((), now)
    moves.make(intent)
    group.authorize(moves, moves.lease(intent))
    return moves
