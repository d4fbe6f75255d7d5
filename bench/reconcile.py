"""What it takes to compare an acquirer's ledger with the orders, however long they are: by `throughline reconcile`, and
by the job that has never compared anything before. Neither may keep in memory what it has read.

One order is held, captured in parts and let go of by the real services; the others are copies of it. Two differ.
"""

import asyncio
import json
import resource
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx2
from pydantic import SecretStr

from bench.fleet import Running, admit, running
from bench.machine import Machine, cpu_us, machine
from bench.process import TOGETHER
from bench.results import Json, Result
from deploy.local.ports import HOST
from deploy.reconcile.run import reconcile
from deploy.reconcile.sides import Sides
from services.payments.reconciling import ReconcileJob
from services.sandbox.acquirer import SandboxAcquirer
from shared.clock import utc_now
from shared.postgres import Pool
from shared.sealing import new_sealing_key
from shared.settings import SandboxSettings

MOVEMENTS = (10_000, 100_000, 1_000_000)
_CAPTURES = 8
_OF_EACH = _CAPTURES + 2
"""Movements of an order: a hold, its captures in parts, and a void of the rest."""
_SANDBOX = SandboxSettings(secret=SecretStr("secret-of-the-sandbox"))
_DIFFERENCES = 2
_PATIENCE_S = 30.0

_ORDER = "'ord_01' || lpad(n::text, 24, '0')"
_PAYMENT = "'sbp_01' || lpad(n::text, 24, '0')"
_MOVEMENT = "'sbm_01' || lpad(n::text, 24, '0') || movement_id"
_AT = "timestamptz '2026-01-01' + n * interval '1 second'"
_TIME = f"""to_char(({_AT}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_AGED = f"""regexp_replace(state::text, '("(created|updated)_at": ")[^"]*', '\\1' || {_TIME}, 'g')"""
# By table: what differs from copy to copy; the rest is as the service made it.
_COPIES = {
    "orders.orders": {
        "order_id": _ORDER,
        "number": "(1000000 + n)::text",
        "state": f"replace(replace({_AGED}, order_id, {_ORDER}), $3, {_PAYMENT})::jsonb",
        "created_at": _AT,
        "updated_at": _AT,
    },
    "payments.order_facts": {
        "order_id": _ORDER,
        "reference": f"replace(reference, $3, {_PAYMENT})",
        "recorded_at": _AT,
        "seen_at": _AT,
    },
    "sandbox.payments": {"payment_id": _PAYMENT, "order_id": _ORDER, "attempt_id": "attempt_id || n"},
    "sandbox.entries": {"payment_id": _PAYMENT, "movement_id": _MOVEMENT, "made_at": _AT},
}
# Of two orders, the captures are there once more, and neither knows of it.
_PLANTED = """
INSERT INTO sandbox.entries SELECT movement_id || 'x', account, amount_minor, currency, kind, payment_id, attempt_id,
    merchant_id, environment, made_at FROM sandbox.entries
WHERE kind = 'capture' AND payment_id IN ('sbp_01' || lpad('1', 24, '0'), 'sbp_01' || lpad('2', 24, '0'))
"""
# The service's own job is not to do it beside the command.
_COMPARED = """
INSERT INTO payments.reconciliations
SELECT DISTINCT merchant_id, environment, now(), now() FROM payments.payment_intents
ON CONFLICT DO NOTHING
"""


async def measure(found: Result, options: Namespace) -> None:
    """Ever longer books."""
    async with machine() as here:
        template = await _made(here)
        steps: list[Json] = []
        filled = 0
        for movements in options.movements:
            orders = movements // _OF_EACH
            await _copy(here, template, filled + 1, orders)
            filled = orders
            steps.append({"movements": movements})
            async for name, value in _compared(here):
                steps[-1][name] = value
                found.add(steps=steps)
                print(movements, name, value, flush=True)


@asynccontextmanager
async def _serving(here: Machine) -> AsyncIterator[Running]:
    environment = {"SANDBOX_SECRET": _SANDBOX.secret.get_secret_value(), "SEALING_KEY": new_sealing_key()}
    async with running(here, TOGETHER, **environment) as server:
        yield server


async def _made(here: Machine) -> tuple[str, str]:
    """The order that is copied, and the acquirer's name of its payment."""
    async with _serving(here) as server:
        key = await admit(here, Running("orders", server.port, server.process))
        api = httpx2.AsyncClient(
            base_url=f"http://{HOST}:{server.port}", headers={"Authorization": f"Bearer {key}"}, timeout=_PATIENCE_S
        )
        async with api:
            line = {"name": "Rain jacket", "quantity": 1, "unit_price_money": {"amount": 9000, "currency": "EUR"}}
            order = _data(await api.post("/v1/orders", json={"currency": "EUR", "line_items": [line]}))
            card = {"type": "card", "token": "sandbox_approve"}
            held = {"method": card, "capture_method": "manual", "confirm": True}
            intent = _data(await api.post(f"/v1/orders/{order['order_id']}/payment-intents", json=held))
            path = f"/v1/payment-intents/{intent['payment_intent_id']}"
            part = {"amount_money": {"amount": 1000, "currency": "EUR"}}
            for _ in range(_CAPTURES):
                _data(await api.post(f"{path}/capture", json=part))
            _data(await api.post(f"{path}/cancel"))
        async with asyncio.timeout(_PATIENCE_S):
            while await here.value("SELECT count(*) FROM payments.order_facts") < _OF_EACH:
                await asyncio.sleep(0.1)
    return order["order_id"], intent["payment_reference"]


def _data(answer: httpx2.Response) -> Json:
    answer.raise_for_status()
    data: Json = answer.json()["data"]
    return data


async def _copy(here: Machine, template: tuple[str, str], first: int, last: int) -> None:
    """Copies with these numbers, in all tables that are compared."""
    order_id, payment = template
    connection = await asyncpg.connect(here.settings.database_url.get_secret_value())
    try:
        for table, changed in _COPIES.items():
            columns = [
                row["attname"]
                for row in await connection.fetch(
                    "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 "
                    "AND NOT attisdropped ORDER BY attnum",
                    table,
                )
            ]
            values = ", ".join(changed.get(name, name) for name in columns)
            key, name = ("payment_id", payment) if table == "sandbox.entries" else ("order_id", order_id)
            await connection.execute(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, "
                f"generate_series($1::integer, $2::integer) AS n WHERE {key} = $4 AND $3::text IS NOT NULL",
                first,
                last,
                payment,
                name,
            )
            await connection.execute(f"VACUUM (ANALYZE, PARALLEL 0) {table}")
        if first == 1:
            await connection.execute(_PLANTED)
    finally:
        await connection.close()


async def _compared(here: Machine) -> AsyncIterator[tuple[str, Json | float]]:
    """By the command, and by the job, each in a process of its own."""
    await here.execute(_COMPARED)
    async with _serving(here) as server:
        key = await admit(here, Running("orders", server.port, server.process))
        yield "command", await _run(here, server, "command", f"http://{HOST}:{server.port}", key)
    await here.execute("DELETE FROM payments.reconciliations")
    yield "facts", await here.value("SELECT count(*) FROM payments.order_facts")
    yield "job", await _run(here, None, "job", here.settings.database_url.get_secret_value())
    yield "facts_afterwards", await here.value("SELECT count(*) FROM payments.order_facts")


async def _run(here: Machine, server: Running | None, *arguments: str) -> Json:
    beside = {"PostgreSQL": here.postgres} | ({"services": server.process} if server else {})
    before = {name: cpu_us(process) for name, process in beside.items()}
    command = (sys.executable, "-m", "bench.reconcile", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await process.communicate()
    assert process.returncode == 0, f"{arguments[0]} ended with {process.returncode}"
    spent = {f"{name}_cpu_s": round((cpu_us(one) - before[name]) / 1_000_000, 1) for name, one in beside.items()}
    found: Json = json.loads(told.splitlines()[-1]) | spent
    assert found["differences"] == _DIFFERENCES, found
    return found


async def _by_job(database: str) -> int:
    """With the acquirer in the same process."""
    pools = [Pool(database, service, 2) for service in ("payments", "sandbox")]
    for pool in pools:
        await pool.open()
    acquirer = SandboxAcquirer(pools[1], utc_now, _SANDBOX.secret, "http://127.0.0.1")
    job = ReconcileJob(pools[0], utc_now, acquirer)
    await job()
    for pool in pools:
        await pool.close()
    return len(job.found(utc_now()))


def _by_command(base_url: str, key: str) -> int:
    with Sides(base_url, key, base_url, _SANDBOX.secret) as sides:
        return len(reconcile(sides, lambda _what, _number: None).differences)


def main(what: str, *place: str) -> None:
    """One comparison, and what this process took for it."""
    began = time.process_time()
    differences = _by_command(*place) if what == "command" else asyncio.run(_by_job(*place))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spent = round(time.process_time() - began, 1)
    print(json.dumps({"differences": differences, "cpu_s": spent, "peak_mb": round(peak_mb, 1)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
