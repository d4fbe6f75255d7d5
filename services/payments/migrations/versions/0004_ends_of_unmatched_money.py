"""Unmatched money comes to an end by somebody's hand, and has a deadline; orders are found by what money says."""

from alembic import op

revision = "0004"
down_revision = "0003"

# A command is answered once; what has not ended is counted and looked through for what is overdue.
UNMATCHED_MONEY = """
ALTER TABLE unmatched_money
    ADD COLUMN version integer NOT NULL DEFAULT 1,
    ADD COLUMN split_from text,
    ADD COLUMN attaching_to text,
    ADD COLUMN order_version integer,
    ADD COLUMN surplus_minor bigint,
    ADD COLUMN overdue_at timestamptz,
    ADD COLUMN resolved_by text,
    ADD COLUMN return_reference text,
    ADD COLUMN note text,
    ADD COLUMN refusal text,
    ADD COLUMN attempt integer NOT NULL DEFAULT 0,
    ADD COLUMN command_id text,
    ADD COLUMN asked_at timestamptz;
CREATE UNIQUE INDEX unmatched_money_by_command ON unmatched_money (command_id) WHERE command_id IS NOT NULL;
CREATE INDEX unmatched_money_unanswered ON unmatched_money (asked_at) WHERE status IN ('attaching', 'returning');
CREATE INDEX unmatched_money_in_time ON unmatched_money (created_at) WHERE status = 'open' AND overdue_at IS NULL;
DROP INDEX unmatched_money_open;
CREATE INDEX unmatched_money_unresolved ON unmatched_money (kind, created_at) WHERE resolved_at IS NULL;
"""

# Orders that were known before get what is new with their next version.
KNOWN_ORDERS = """
ALTER TABLE known_orders
    ADD COLUMN credit_minor bigint NOT NULL DEFAULT 0,
    ADD COLUMN customer_id text,
    ADD COLUMN placed_at timestamptz NOT NULL DEFAULT 'epoch',
    ADD COLUMN reference_key text;
CREATE INDEX known_orders_owed
    ON known_orders (merchant_id, environment, currency, outstanding_minor, placed_at) WHERE outstanding_minor > 0;
CREATE INDEX known_orders_alike ON known_orders (merchant_id, environment, reference_key, placed_at)
    WHERE reference_key IS NOT NULL;
CREATE INDEX known_orders_of_customer ON known_orders (merchant_id, environment, customer_id, placed_at)
    WHERE customer_id IS NOT NULL;
"""


def upgrade() -> None:
    """Add the columns and indexes."""
    for statements in (UNMATCHED_MONEY, KNOWN_ORDERS):
        for statement in statements.split(";"):
            if statement.strip():
                op.execute(statement)
