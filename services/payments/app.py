"""The composition root of the payment service: the only place that builds its parts."""

import asyncio
from collections.abc import Sequence
from functools import partial

from litestar import Litestar

from services.payments.channels import ChannelLife
from services.payments.connectors.registry import Connectors
from services.payments.consumers import ChannelConsumer, OrderConsumer, ReplyConsumer
from services.payments.core.intents.state import Intent
from services.payments.finding import OrderFinder
from services.payments.http.channel_events import ChannelEventController
from services.payments.http.channels import ChannelController
from services.payments.http.paying import OrderPaymentController
from services.payments.http.payment_intents import PaymentIntentController
from services.payments.http.unmatched_money import UnmatchedMoneyController
from services.payments.http.wiring import Wiring
from services.payments.intents import Intents, Result, Wanted
from services.payments.jobs import INVARIANTS, MarkOverdueJob, MatchWaitingJob, MeasureJob
from services.payments.reconciling import ReconcileJob
from services.payments.runner import AttemptRunner
from services.payments.store import intents as intents_store
from services.payments.store import unmatched
from shared.batcher import Batcher
from shared.invariants import CheckInvariantsJob
from shared.outside import REAL, Outside
from shared.postgres import Pool
from shared.service import ServiceProcess
from shared.settings import Role, Settings
from shared.topics import CHANNEL_TOPIC_PATTERN, ORDERS_EVENTS, ORDERS_REPLIES
from shared.waiting import Outcomes

SERVICE = "payments"
_MATCH_EVERY_S = 2.0
_FINISH_EVERY_S = 10.0
_MEASURE_EVERY_S = 15.0
_RUN_OUT_EVERY_S = 15.0
_MARK_EVERY_S = 60.0
_CHECK_EVERY_S = 60.0
_RECONCILE_EVERY_S = 60.0

CONTROLLERS = (
    ChannelController,
    ChannelEventController,
    UnmatchedMoneyController,
    PaymentIntentController,
    OrderPaymentController,
)


def create_process(settings: Settings, role: Role, outside: Outside = REAL) -> ServiceProcess:
    """One process of the payment service; it connects when the app's lifespan begins."""
    process = ServiceProcess(SERVICE, settings, role, outside)
    pool, clock, wake = process.pool, process.clock, process.wake
    life = ChannelLife(pool, settings.kafka, clock, outside.kafka)
    connectors = Connectors(settings.sandbox, outside.acquirer)
    process.at_stop(connectors.close)
    due = asyncio.Event()
    settled = partial(intents_store.settled, pool)
    groups = Outcomes[Sequence[Intent]](settings, SERVICE, settled, outside, own=wake.sender)
    intents = Intents(pool, clock, wake, due.set, lambda group: groups.tell(group[0].group_id, group))
    runner = AttemptRunner(intents, connectors, due)
    orders = OrderFinder(pool, clock)
    _consume(process, intents, orders)
    process.beside("attempts", runner.run)
    _do_now_and_then(process, life, intents, connectors)
    wiring = Wiring(
        pool=pool,
        clock=clock,
        committed=wake,
        channels=life,
        kafka=settings.kafka,
        outcomes=Outcomes(settings, SERVICE, partial(_settled_items, pool), outside),
        groups=groups,
        orders=orders,
        reads=Batcher(partial(intents_store.read, pool), concurrent=1),
        intents=_together(intents, settings),
        answers=Batcher(intents.remember, concurrent=1),
        runner=runner,
        connectors=connectors,
    )
    process.serve(CONTROLLERS, payments=wiring)
    return process


def _consume(process: ServiceProcess, intents: Intents, orders: OrderFinder) -> None:
    pool, clock, wake = process.pool, process.clock, process.wake
    process.consume("channels", ChannelConsumer(pool, clock, wake), pattern=CHANNEL_TOPIC_PATTERN)
    consumer = process.consume("orders", OrderConsumer(pool, clock, wake, orders.heard), topics=[ORDERS_EVENTS])
    orders.consumer = consumer if process.works else None
    process.consume("replies", ReplyConsumer(pool, clock, wake, intents), topics=[ORDERS_REPLIES])


def _do_now_and_then(process: ServiceProcess, life: ChannelLife, intents: Intents, connectors: Connectors) -> None:
    pool, clock = process.pool, process.clock
    process.every(_MATCH_EVERY_S, "jobs.match_waiting_events", MatchWaitingJob(pool, clock, process.wake))
    process.every(_FINISH_EVERY_S, "jobs.finish_channels", life.finish)
    process.every(_RUN_OUT_EVERY_S, "jobs.end_authorizations", intents.run_out)
    process.every(_MARK_EVERY_S, "jobs.mark_overdue_money", MarkOverdueJob(pool, clock, process.settings))
    if connectors.ledger is not None:
        process.every(_RECONCILE_EVERY_S, "jobs.reconcile", ReconcileJob(pool, clock, connectors.ledger))
    process.every(_MEASURE_EVERY_S, "jobs.measure", MeasureJob(pool, clock))
    process.every(_CHECK_EVERY_S, "jobs.check_invariants", CheckInvariantsJob(pool, SERVICE, INVARIANTS))


def _together(intents: Intents, settings: Settings) -> Batcher[Wanted, Result]:
    """Requests share transactions, unless each is to have its own."""
    several = settings.http_batch_size > 1
    concurrent = 1 if several else settings.database_pool_size
    return Batcher(intents.run, largest=settings.http_batch_size, concurrent=concurrent)


async def _settled_items(pool: Pool, ids: Sequence[str]) -> dict[str, bool]:
    return dict.fromkeys(await unmatched.settled(pool, ids), True)


def create_app(settings: Settings, role: Role) -> Litestar:
    """Its HTTP app."""
    return create_process(settings, role).app()
