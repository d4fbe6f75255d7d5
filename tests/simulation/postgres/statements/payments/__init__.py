"""The statements of the payment service."""

from tests.simulation.postgres.client import Statements
from tests.simulation.postgres.statements.payments import (
    channels,
    events,
    facts,
    intents,
    jobs,
    orders,
    reconciliations,
    unmatched,
)

statement = Statements(
    channels.statement,
    events.statement,
    orders.statement,
    unmatched.statement,
    jobs.statement,
    intents.statement,
    facts.statement,
    reconciliations.statement,
)
