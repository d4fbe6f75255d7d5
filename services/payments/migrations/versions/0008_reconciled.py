"""How far the acquirer's ledger and the orders have been compared, and which orders differ; see
`services.payments.reconciling`."""

from alembic import op

revision = "0008"
down_revision = "0007"

RECONCILIATIONS = """
CREATE TABLE reconciliations (
    merchant_id text NOT NULL,
    environment text NOT NULL,
    compared_to timestamptz NOT NULL,
    summed_to timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, environment)
)
"""
DIFFERING_ORDERS = """
CREATE TABLE differing_orders (
    merchant_id text NOT NULL,
    environment text NOT NULL,
    order_id text NOT NULL,
    found_at timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, environment, order_id)
)
"""
# What is told again of an order whose facts were summed up must not count twice.
SUMMED_TO = "ALTER TABLE order_facts ADD COLUMN summed_to integer"
# Read page by page in the order of the index, however much was heard of in the time in question.
ORDER_FACTS_SEEN = """
DROP INDEX order_facts_seen;
CREATE INDEX order_facts_seen ON order_facts (merchant_id, environment, seen_at, order_id)
"""


def upgrade() -> None:
    """Create the tables and the column, and the index anew."""
    op.execute(RECONCILIATIONS)
    op.execute(DIFFERING_ORDERS)
    op.execute(SUMMED_TO)
    for statement in ORDER_FACTS_SEEN.split(";"):
        op.execute(statement)
