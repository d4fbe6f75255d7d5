"""Payment intents and their attempts."""

from alembic import op

revision = "0005"
down_revision = "0004"

# The state is the whole intent; the columns are what it is found by. A group is locked by its intents' rows.
PAYMENT_INTENTS = """
CREATE TABLE payment_intents (
    payment_intent_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    order_id text NOT NULL,
    group_id text NOT NULL,
    status text NOT NULL,
    settled boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    status_since timestamptz NOT NULL,
    authorization_ends_at timestamptz,
    state jsonb NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX payment_intents_by_group ON payment_intents (group_id);
CREATE INDEX payment_intents_by_time
    ON payment_intents (merchant_id, environment, created_at DESC, payment_intent_id DESC);
CREATE INDEX payment_intents_by_order
    ON payment_intents (merchant_id, environment, order_id, created_at DESC, payment_intent_id DESC);
CREATE INDEX payment_intents_running_out ON payment_intents (authorization_ends_at)
    WHERE status = 'requires_capture';
CREATE INDEX payment_intents_under_way ON payment_intents (status, status_since) WHERE NOT settled;
"""

# What is due is claimed by whoever sends or looks it up, until `claimed_until`.
PAYMENT_ATTEMPTS = """
CREATE TABLE payment_attempts (
    attempt_id text PRIMARY KEY,
    payment_intent_id text NOT NULL,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    order_id text NOT NULL,
    connector text NOT NULL,
    asked jsonb NOT NULL,
    status text NOT NULL,
    due_at timestamptz NOT NULL,
    claimed_until timestamptz,
    claims integer NOT NULL DEFAULT 0,
    looks integer NOT NULL,
    outcome text,
    answer jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX payment_attempts_due ON payment_attempts (due_at) WHERE status <> 'ended';
CREATE INDEX payment_attempts_open ON payment_attempts (payment_intent_id) WHERE status <> 'ended';
CREATE INDEX payment_attempts_by_order
    ON payment_attempts (merchant_id, environment, order_id, created_at DESC, attempt_id DESC);
"""


def upgrade() -> None:
    """Create both."""
    for tables in (PAYMENT_INTENTS, PAYMENT_ATTEMPTS):
        for statement in tables.split(";"):
            if statement.strip():
                op.execute(statement)
