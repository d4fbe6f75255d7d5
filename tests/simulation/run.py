"""One run from one seed: services, load and faults on virtual time, until all is quiet; then the books are compared."""

import asyncio
import logging
import random as global_random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from random import Random

import structlog
from pydantic import SecretStr

import shared.ids
from shared.settings import UNLIMITED, SandboxSettings, Settings
from tests.simulation import faults
from tests.simulation.acquirer import Acquirers, intents_are_under_way, money_is_to_go_back
from tests.simulation.auditor import Finding, Invariant, audit, glance
from tests.simulation.books import Books
from tests.simulation.kafka import Cluster
from tests.simulation.loop import run_virtually
from tests.simulation.merchants import Merchants
from tests.simulation.models import lifecycle
from tests.simulation.nodes import Node, Servers, virtual_now
from tests.simulation.plan import REPLICAS, Plan
from tests.simulation.postgres.schema import databases
from tests.simulation.postgres.statements import STATEMENTS
from tests.simulation.receivers import Receivers, webhooks_are_due
from tests.simulation.world import PARTITIONS, Everything, LifeWorld
from tests.simulation.world_api import Evidence

_GLANCES, _GLANCED_AT = 3, 20
_QUIET_S = 4.0
_PATIENCE_S = 400.0
_SANDBOX_SECRET = SecretStr("a secret of the simulated acquirer")
_SEALING_KEY = SecretStr("c2ltdWxhdGlvbi1zaW11bGF0aW9uLXNpbXVsYXRpb24=")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run; the trace is a hash of everything that was ever published, in order."""

    plan: Plan
    findings: tuple[Finding, ...]
    trace: str
    records: int
    virtual_s: float
    story: tuple[str, ...]
    """What was published about the order of the first finding, one line each."""
    answers: Counter[int]
    """How often payments answered a request that collects with this status."""


def run(plan: Plan) -> Outcome:
    """The run; the same plan gives the same outcome."""
    with _alone(plan.seed):
        return run_virtually(_Run(plan).whole())


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Whatever is not handed to the services but found by them is drawn from the seed: identifiers, jitter."""
    ids, before = Random(f"ids {seed}"), shared.ids.ULID
    state = global_random.getstate()
    global_random.seed(seed)
    shared.ids.ULID = lambda: f"{ids.getrandbits(128):032X}"[:26]  # type: ignore[assignment,misc,return-value]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        shared.ids.ULID = before  # type: ignore[misc]
        global_random.setstate(state)


class _Run:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(f"world {plan.seed}")
        self.books = Books()
        self.findings: list[Finding] = []
        self.everything = Everything(http=plan.http, intents=plan.intents)
        self.rested_s = 0.0

    async def whole(self) -> Outcome:
        """From nothing to the audit."""
        seed, everything = self.plan.seed, self.everything
        cluster = Cluster(Random(f"kafka {seed}"), self.plan.fetch_s, everything.told)
        settings = Settings(
            command_partitions=PARTITIONS,
            consumer_batch_size=self.plan.batch_size,
            consumer_lanes=2,
            rate_limits=UNLIMITED,
            sealing_key=_SEALING_KEY,
            sandbox=SandboxSettings(secret=_SANDBOX_SECRET),
        )
        if self.plan.overdue:
            at_once = {"unmatched_money_policy": "return", "unmatched_money_days": 0}
            settings = settings.model_copy(update=at_once)
        made = databases(virtual_now)
        receivers = Receivers(Random(f"receivers {seed}"))
        acquirers = Acquirers(Random(f"acquirer {seed}"), made["payments"])
        self.servers = everything.servers = Servers(made, STATEMENTS, cluster, settings, receivers, acquirers)
        everything.prepare()
        self.nodes = everything.nodes = [
            Node(service, self.servers, self.random) for service in self.plan.services for _ in range(REPLICAS)
        ]
        acquirers.nodes = [node for node in self.nodes if node.service == "sandbox"]
        try:
            await self._from_start_to_rest()
            await self._judge()
        finally:
            for node in self.nodes:
                await node.end()
            await _end_all_tasks()
        story = tuple(self._story(self.findings[0].order_id or "")) if self.findings else ()
        answers = Counter(status for one in self.books.collecting for status, _ in one.answers)
        records, trace = len(self.everything.trace), self._hash()
        return Outcome(self.plan, tuple(self.findings), trace, records, self.rested_s, story, answers)

    async def _from_start_to_rest(self) -> None:
        for node in self.nodes:
            node.start()
        keeper = asyncio.create_task(self._watch_processes())
        await self._live()
        if not await self._settle():
            late = "after all faults had ended, work was left over for minutes"
            self.findings.append(Finding(Invariant.EVERYTHING_SETTLES, late))
        keeper.cancel()
        self.rested_s = asyncio.get_running_loop().time()

    async def _watch_processes(self) -> None:
        """None may end by itself."""
        while True:
            await asyncio.sleep(1.0)
            for node in self.nodes:
                self.findings += [
                    Finding(Invariant.PROCESSES_ARE_WELL, f"{node.service} ended with {failure!r}")
                    for failure in node.failures
                ]
                node.failures.clear()

    async def _live(self) -> None:
        """All lifecycles and all faults."""
        hazards = [asyncio.create_task(faults.happen(fault, self.nodes, self.servers)) for fault in self.plan.faults]
        glances = asyncio.create_task(self._glance_now_and_then())
        lives: list[asyncio.Task[None]] = []
        if self.plan.apps:
            merchants = Merchants(self.nodes, self.servers.settings, self.servers.receivers, self.books)
            random = Random(f"merchants {self.plan.seed}")
            lives.append(asyncio.create_task(merchants.live(random, self.plan.within_s)))
        await asyncio.sleep(1.0)
        step = max(1, self.plan.rate // 200)
        for index in range(0, len(self.plan.lifecycles), step):
            lives += [self._begin(number) for number in self.plan.lifecycles[index : index + step]]
            await asyncio.sleep(step / self.plan.rate)
        for hazard in hazards:
            await hazard
        _, late = await asyncio.wait(lives, timeout=_PATIENCE_S)
        if late:
            self.findings.append(Finding(Invariant.EVERYTHING_SETTLES, f"{len(late)} lives still wait for an answer"))
        for life in set(lives) - late:
            life.result()
        glances.cancel()
        # Whoever was hit by two faults at once may still be down.
        for node in self.nodes:
            node.thaw()
            node.start()

    def _begin(self, number: int) -> "asyncio.Task[None]":
        random = Random(f"life {self.plan.seed} {number}")
        return asyncio.create_task(lifecycle(LifeWorld(self.everything, random), self.books, number, self.plan.story))

    async def _glance_now_and_then(self) -> None:
        for _ in range(_GLANCES):
            await asyncio.sleep(self.random.uniform(0.2, 1.0 + self.plan.within_s))
            self.findings += glance(self.books, self.evidence(), self._some_orders())

    def _some_orders(self) -> list[str]:
        orders = [str(key) for key in self.servers.databases["orders"]["orders"].rows]
        return self.random.sample(orders, min(len(orders), _GLANCED_AT))

    async def _settle(self) -> bool:
        """Wait until nothing has happened for a while and nothing is left; false when that takes too long."""
        loop = asyncio.get_running_loop()
        deadline, quiet_since, seen = loop.time() + _PATIENCE_S, loop.time(), -1
        while loop.time() < deadline:
            await asyncio.sleep(0.5)
            if len(self.everything.trace) != seen or await self._left():
                seen, quiet_since = len(self.everything.trace), loop.time()
            elif loop.time() - quiet_since >= _QUIET_S:
                return True
        return False

    async def _left(self) -> bool:
        """Whether anything is still to be published or read, or anybody waits for something.

        Offsets may stay uncommitted for longer: what was done and could not be acknowledged comes again one day.
        """
        if self._waits() or any([await node.unwell() for node in self.nodes]):
            return True
        # Looked at last and at one instant, so that what is judged next is as it was found here.
        return self._waits()

    def _waits(self) -> bool:
        databases = self.servers.databases
        outboxes = any(databases[service]["outbox"].rows for service in ("orders", "payments", "apps"))
        behind = any(not group.has_read_all() for group in self.servers.cluster.groups.values())
        asked = self.servers.acquirers.under_way or intents_are_under_way(databases, virtual_now())
        asked = asked or (self.plan.overdue and money_is_to_go_back(databases["payments"]))
        replays = bool(databases["apps"]["plugin_replays"].indexes["running"].values())
        return bool(outboxes or behind or asked or replays or webhooks_are_due(databases["apps"], virtual_now()))

    async def _judge(self) -> None:
        await self.servers.acquirers.settle()
        audited = audit(self.books, self.evidence(), finished=True)
        for node in self.nodes:
            for reason in await node.unwell():
                self.findings.append(Finding(Invariant.PROCESSES_ARE_WELL, f"{node.service}: {reason}"))
        self.findings += audited

    def evidence(self) -> Evidence:
        """Every topic from the beginning, and every table."""
        topics = {
            topic: [record for partition in partitions for record in partition.records]
            for topic, partitions in self.servers.cluster.topics.items()
        }
        tables = {
            f"{service}.{name}": list(table.rows.values())
            for service, database in self.servers.databases.items()
            for name, table in database.tables.items()
        }
        troubles = [(fault.at_s, fault.at_s + fault.lasts_s) for fault in self.plan.faults]
        questions = self.servers.acquirers.questions
        return Evidence(topics, tables, self.servers.receivers.requests, questions, troubles)

    def _story(self, order_id: str) -> Iterator[str]:
        needle = order_id.encode()
        for record in self.everything.trace:
            if needle and needle in (record.key or b"") + (record.value or b""):
                headers = {name: text.decode(errors="replace") for name, text in record.headers}
                what, which = headers.get("ce_type", headers.get("tl_reason", "")), headers.get("ce_id", "")
                place = f"{record.topic}[{record.partition}]@{record.offset}"
                yield f"{record.at_s:9.4f} s  {place}  {what}  {which}"

    def _hash(self) -> str:
        digest = sha256()
        for topic, partition, offset, key, value, _, at_s in self.everything.trace:
            place = f"{at_s:.9f} {topic} {partition} {offset}".encode()
            digest.update(b"%b%b%b" % (place, key or b"", value or b""))
        for request in self.servers.receivers.requests:
            digest.update(f"{request.at_s:.9f} {request.url} {request.event_id}".encode())
        return digest.hexdigest()[:16]


async def _end_all_tasks() -> None:
    """Whoever is left is cancelled, until nobody is."""
    for _ in range(50):
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if not others:
            return
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=1)
