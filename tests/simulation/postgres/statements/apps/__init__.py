"""The statements of the apps service, without those of pages, OAuth and lists."""

from tests.simulation.postgres.client import Statements
from tests.simulation.postgres.statements.apps import access, events, plugin_topics, sending, tidying, webhooks

statement = Statements(
    access.statement,
    events.statement,
    plugin_topics.statement,
    webhooks.statement,
    sending.statement,
    tidying.statement,
)
