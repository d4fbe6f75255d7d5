"""The order service by itself: statements and memory."""

from bench import workload
from bench.fleet import running
from bench.machine import Machine, worker
from bench.race import ORDERS, free_port, prepare
from shared.kafka import producer

_LONG_S = 300.0


async def statements(here: Machine, orders: int) -> float:
    """SQL statements of the service's process for each command at batches of 500, its relay's included."""
    count, before = await prepare(here, ORDERS, orders)
    await here.execute("ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()")
    logged = here.statements_logged()
    with worker(ORDERS.module, "orders", "--port", free_port(), environment=here.environment()):
        await here.times(ORDERS.replies, before, count, _LONG_S)
    logged = here.statements_logged() - logged
    await here.execute("ALTER SYSTEM RESET log_min_duration_statement", "SELECT pg_reload_conf()")
    return logged / count


async def memory(here: Machine, orders: int) -> dict[str, float]:
    """Resident megabytes of a worker that has just started, after the first tenth, and after all orders."""
    _, before = await prepare(here, ORDERS, 0)
    async with running(here, "orders", "worker") as one:
        found, done = {"0": one.resident_mb}, 0
        async with producer(here.settings.kafka, max_batch_size=900 * 1024) as sender:
            for step in (orders // 10, orders - orders // 10):
                done += step
                messages = workload.commands(step, only_create=True)
                await workload.publish(sender, ORDERS.commands, here.settings.command_partitions, messages)
                await here.times(ORDERS.replies, before, done, _LONG_S)
                found[str(done)] = one.resident_mb
    return found
