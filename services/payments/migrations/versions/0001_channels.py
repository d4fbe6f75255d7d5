"""Channels, their events and payments, orders as far as they matter for them, unmatched money."""

from alembic import op

from shared.auth.table import GRANTS_TABLE
from shared.idempotency import IDEMPOTENCY_TABLE
from shared.outbox import OUTBOX_TABLE

revision = "0001"
down_revision = None

# Ids are unique across tenants, because they name topics; a disabled channel keeps its id for ever.
CHANNELS = """
CREATE TABLE channels (
    channel_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    name text NOT NULL,
    source text,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX channels_by_time ON channels (merchant_id, environment, created_at DESC, channel_id DESC);
CREATE INDEX channels_unfinished ON channels (updated_at) WHERE status IN ('provisioning', 'disabling');
"""

# The row of a payment is what events about it are serialised on.
CHANNEL_PAYMENTS = """
CREATE TABLE channel_payments (
    payment_id text PRIMARY KEY,
    channel_id text NOT NULL,
    payment_reference text NOT NULL,
    order_id text,
    currency text
);
"""

# One row per distinct reference: its primary key is what makes a repeat a repeat.
CHANNEL_EVENTS = """
CREATE TABLE channel_events (
    channel_event_id text PRIMARY KEY,
    channel_id text NOT NULL,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    body jsonb NOT NULL,
    payment_id text NOT NULL,
    named_order_id text,
    external_reference text,
    status text NOT NULL,
    order_id text,
    currency text,
    order_version integer,
    refusal text,
    attempt integer NOT NULL,
    command_id text,
    correlation_id text,
    traceparent text,
    received_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE UNIQUE INDEX channel_events_by_command ON channel_events (command_id) WHERE command_id IS NOT NULL;
CREATE INDEX channel_events_unanswered ON channel_events (changed_at) WHERE status = 'sent';
CREATE INDEX channel_events_waiting_by_order ON channel_events (named_order_id) WHERE status = 'waiting';
CREATE INDEX channel_events_waiting_by_reference ON channel_events (merchant_id, environment, external_reference)
    WHERE status = 'waiting';
"""

KNOWN_ORDERS = """
CREATE TABLE known_orders (
    order_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    external_reference text,
    currency text NOT NULL,
    status text NOT NULL,
    outstanding_minor bigint NOT NULL,
    version integer NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX known_orders_by_reference
    ON known_orders (merchant_id, environment, external_reference, (status IN ('closed', 'canceled')))
    WHERE external_reference IS NOT NULL;
"""

UNMATCHED_MONEY = """
CREATE TABLE unmatched_money (
    unmatched_money_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    channel_event_id text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    detail text NOT NULL,
    amount_minor bigint,
    currency text,
    channel_id text NOT NULL,
    event_type text NOT NULL,
    event_id text NOT NULL,
    event jsonb NOT NULL,
    payment_id text NOT NULL,
    payment_reference text NOT NULL,
    order_id text,
    external_reference text,
    replaced_by text,
    created_at timestamptz NOT NULL,
    resolved_at timestamptz
);
CREATE INDEX unmatched_money_by_time
    ON unmatched_money (merchant_id, environment, created_at DESC, unmatched_money_id DESC);
CREATE INDEX unmatched_money_by_status
    ON unmatched_money (merchant_id, environment, status, created_at DESC, unmatched_money_id DESC);
CREATE INDEX unmatched_money_by_order
    ON unmatched_money (merchant_id, environment, order_id, created_at DESC, unmatched_money_id DESC)
    WHERE order_id IS NOT NULL;
CREATE INDEX unmatched_money_open ON unmatched_money (kind, created_at) WHERE status = 'open';
"""


def upgrade() -> None:
    """Create everything; the schema is empty before."""
    for tables in (
        CHANNELS,
        CHANNEL_PAYMENTS,
        CHANNEL_EVENTS,
        KNOWN_ORDERS,
        UNMATCHED_MONEY,
        OUTBOX_TABLE,
        GRANTS_TABLE,
        IDEMPOTENCY_TABLE,
    ):
        for statement in tables.split(";"):
            if statement.strip():
                op.execute(statement)
