"""What each statement of the services means, by its text."""

from tests.simulation.postgres.client import Statements
from tests.simulation.postgres.statements import apps, common, orders, payments, sandbox

STATEMENTS: dict[str, Statements] = {
    "orders": Statements(common.statement, orders.statement),
    "payments": Statements(common.statement, payments.statement),
    "apps": Statements(common.statement, apps.statement),
    "sandbox": sandbox.statement,
}
"""By service."""
