"""The composition root of the order service: the only place that builds its parts."""

from litestar import Litestar

from services.orders.aggregate import Numbers, OrderAggregates
from services.orders.consumers import CommandConsumer
from services.orders.core.state import Order
from services.orders.http.customers import CustomerController
from services.orders.http.orders import OrderController
from services.orders.http.parts import PartsController
from services.orders.http.wiring import Wiring
from services.orders.http.writes import Writes
from services.orders.jobs import INVARIANTS, ExpireLeasesJob
from services.orders.numbers import OrderNumbers
from shared.batcher import Batcher
from shared.contracts.order_commands import OrderCommand
from shared.idempotency import Claim
from shared.invariants import CheckInvariantsJob
from shared.outside import REAL, Outside
from shared.processor import CommandProcessor, Done, Incoming
from shared.service import ServiceProcess
from shared.settings import Role, Settings
from shared.topics import ORDERS_COMMANDS

SERVICE = "orders"
_EXPIRE_EVERY_S = 1.0
_CHECK_EVERY_S = 60.0


def create_process(settings: Settings, role: Role, outside: Outside = REAL) -> ServiceProcess:
    """One process of the order service; it connects when the app's lifespan begins."""
    process = ServiceProcess(SERVICE, settings, role, outside)
    aggregates = OrderAggregates(OrderNumbers(process.pool))
    processor = CommandProcessor[Order, OrderCommand, Numbers](
        process.pool, aggregates, process.clock, process.wake, SERVICE
    )
    process.consume("commands", CommandConsumer(processor.run), topics=[ORDERS_COMMANDS])
    process.every(_EXPIRE_EVERY_S, "jobs.expire_leases", ExpireLeasesJob(process.pool, processor.run, process.clock))
    process.every(_CHECK_EVERY_S, "jobs.check_invariants", CheckInvariantsJob(process.pool, SERVICE, INVARIANTS))
    batcher = Batcher[Incoming[OrderCommand], Done[Order] | Claim](
        processor.run,
        largest=settings.http_batch_size,
        concurrent=2 if settings.http_batch_size > 1 else settings.database_pool_size,
    )
    wiring = Wiring(process.pool, Writes(batcher, process.clock), process.clock)
    process.serve([OrderController, PartsController, CustomerController], orders=wiring)
    return process


def create_app(settings: Settings, role: Role) -> Litestar:
    """Its HTTP app."""
    return create_process(settings, role).app()
