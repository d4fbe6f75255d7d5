"""The order service and the bare pipe, taking turns at the same commands."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench import bare_pipe, workload
from bench.machine import Ends, Machine, cpu_us, worker
from deploy.local.ports import Ports
from shared.kafka import producer
from shared.topics import ORDERS_COMMANDS, ORDERS_EVENTS, ORDERS_REPLIES

_TABLES = ("inbox", "orders", "order_events", "outbox")
_PRIMARY_KEYS = {
    "inbox": "aggregate_id, command_id",
    "orders": "order_id",
    "order_events": "order_id, version",
    "outbox": "seq",
}
_WAL = "SELECT pg_current_wal_lsn() - '0/0'"
_LONG_S = 300.0


@dataclass(frozen=True)
class Contender:
    """Something that handles the same commands; `like` is what the bare pipe's tables have of the order service's."""

    name: str
    module: str
    commands: str
    events: str
    replies: str
    like: str | None = None


_BARE = ("bench.bare_pipe", bare_pipe.COMMANDS, bare_pipe.EVENTS, bare_pipe.REPLIES)
BARE_KEYS = Contender("bare pipe, keys only", *_BARE, like="INCLUDING IDENTITY INCLUDING STORAGE")
BARE_SAME = Contender("bare pipe, same indexes", *_BARE, like="INCLUDING ALL")
ORDERS = Contender("orders service", "bench.process", ORDERS_COMMANDS, ORDERS_EVENTS, ORDERS_REPLIES)
CONTENDERS = (BARE_KEYS, BARE_SAME, ORDERS)


@dataclass(frozen=True)
class Round:
    """One run of one contender."""

    contender: str
    batch: int
    commands: int
    per_second: float
    python_us: float
    """Processor time per command, of the worker and of each server."""
    postgres_us: float
    kafka_us: float
    wal_bytes_per_command: float


class Race:
    """Rounds of `orders` orders each on one machine."""

    def __init__(self, here: Machine, orders: int) -> None:
        self._here, self._orders = here, orders
        self.publishing: dict[str, float] = {}

    async def prepare(self) -> None:
        """Find out which way of publishing is faster for the bare pipe."""
        for name in bare_pipe.PUBLISHERS:
            self.publishing[name] = (await self.run(BARE_SAME, 500, name)).per_second

    async def rounds(self, batches: Sequence[int], count: int) -> list[Round]:
        """All take turns, so that what else the machine does hits all alike; the first turn is a warm-up."""
        publish = max(self.publishing, key=lambda name: self.publishing[name])
        found = []
        for batch in batches:
            for number in range(count + 1):
                turns = [await self.run(contender, batch, publish) for contender in CONTENDERS]
                found += turns if number else []
        return found

    async def run(self, contender: Contender, batch: int, publish: str) -> Round:
        """Commands that lie in Kafka until their replies do; what comes before the first reply is not counted."""
        count, before = await prepare(self._here, contender, self._orders)
        arguments = (
            ("--batch", str(batch), "--publish", publish) if contender.like else ("orders", "--port", free_port())
        )
        wal = await self._here.value(_WAL)
        with worker(contender.module, *arguments, environment=self._here.environment(batch)) as process:
            spent: list[list[float]] = []

            def note() -> None:
                spent.append([cpu_us(one) for one in (process, self._here.postgres, self._here.kafka)])

            times = await self._here.times(contender.replies, before, count, _LONG_S, note)
        wal = await self._here.value(_WAL) - wal
        later = sum(at > times[0] for at in times)
        rate = later * 1000 / (times[-1] - times[0])
        python, postgres, kafka = ((end - begin) / later for begin, end in zip(*spent, strict=True))
        print(f"{contender.name:24} batch {batch:5} {rate:8,.0f} commands/s", flush=True)
        return Round(contender.name, batch, count, rate, python, postgres, kafka, wal / count)


async def prepare(here: Machine, contender: Contender, orders: int) -> tuple[int, Ends]:
    """Empty tables and topics, then the commands; gives their number and where the replies begin."""
    if contender.like:
        await here.execute("DROP SCHEMA IF EXISTS bench CASCADE", "CREATE SCHEMA bench", *_tables(contender.like))
    else:
        tables = ", ".join(f"orders.{table}" for table in (*_TABLES, "order_search"))
        await here.execute(f"TRUNCATE {tables}")
    await here.execute("CHECKPOINT")
    here.empty([contender.commands, contender.events, contender.replies])
    before = await here.ends(contender.replies)
    async with producer(here.settings.kafka, max_batch_size=900 * 1024) as sender:
        partitions = here.settings.command_partitions
        count = await workload.publish(sender, contender.commands, partitions, workload.commands(orders))
    return count, before


def free_port() -> str:
    """For a process's HTTP."""
    return str(Ports.free().postgres)


def _tables(like: str) -> list[str]:
    statements = [f"CREATE TABLE bench.{table} (LIKE orders.{table} {like})" for table in _TABLES]
    statements.append("ALTER TABLE bench.orders SET (fillfactor = 80)")
    if "ALL" not in like:
        statements += [f"ALTER TABLE bench.{table} ADD PRIMARY KEY ({key})" for table, key in _PRIMARY_KEYS.items()]
    return statements
