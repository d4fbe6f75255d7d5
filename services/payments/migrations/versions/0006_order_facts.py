"""What orders say was collected through intents, for whoever compares it with an acquirer's ledger."""

from alembic import op

revision = "0006"
down_revision = "0005"

# One row for each such event, named by its place in its order's history. Nothing is changed.
ORDER_FACTS = """
CREATE TABLE order_facts (
    order_id text NOT NULL,
    version integer NOT NULL,
    ordinal integer NOT NULL,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    recorded_at timestamptz NOT NULL,
    payment_id text,
    reference text,
    amount_minor bigint,
    refund text,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, version, ordinal)
)
"""
ORDER_FACTS_SEEN = "CREATE INDEX order_facts_seen ON order_facts (merchant_id, environment, seen_at)"


def upgrade() -> None:
    """Create the table and its index."""
    op.execute(ORDER_FACTS)
    op.execute(ORDER_FACTS_SEEN)
