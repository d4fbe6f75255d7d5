"""Webhook endpoints, what is delivered to them, and the log of attempts."""

from alembic import op

revision = "0004"
down_revision = "0003"

# One without a grant is the merchant's own, the others are those of installed apps.
ENDPOINTS = """
CREATE TABLE webhook_endpoints (
    endpoint_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    grant_id text,
    scopes text[] NOT NULL,
    url text NOT NULL,
    description text,
    event_types text[] NOT NULL,
    status text NOT NULL,
    disabled_reason text,
    sealed_secret bytea NOT NULL,
    sealed_previous_secret bytea,
    previous_secret_ends_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    paused_until timestamptz,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX webhook_endpoints_by_time
    ON webhook_endpoints (merchant_id, environment, created_at DESC, endpoint_id DESC);
CREATE INDEX webhook_endpoints_by_grant ON webhook_endpoints (grant_id) WHERE grant_id IS NOT NULL;
"""

# `seq` is the order in which events of one order reach one endpoint. Claiming a row changes no index, so that it stays
# on its page where there is room. Test events are in no other table, so a delivery of one holds its body.
DELIVERIES = """
CREATE TABLE webhook_deliveries (
    delivery_id text PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    endpoint_id text NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    order_id text NOT NULL,
    test_body bytea,
    status text NOT NULL,
    tries smallint NOT NULL,
    attempts integer NOT NULL,
    due_at timestamptz NOT NULL,
    claimed_until timestamptz,
    last_status_code smallint,
    last_error text,
    created_at timestamptz NOT NULL,
    settled_at timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (endpoint_id, due_at, seq) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_order ON webhook_deliveries (endpoint_id, order_id, seq) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (endpoint_id, created_at DESC, delivery_id DESC);
CREATE INDEX webhook_deliveries_failed ON webhook_deliveries (endpoint_id, created_at DESC, delivery_id DESC)
    WHERE status = 'failed';
CREATE INDEX webhook_deliveries_old ON webhook_deliveries USING brin (created_at) WITH (autosummarize = on);
"""

ATTEMPTS = """
CREATE TABLE webhook_attempts (
    delivery_id text NOT NULL,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    latency_ms integer NOT NULL,
    status_code smallint,
    error text,
    response text NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
);
CREATE INDEX webhook_attempts_old ON webhook_attempts USING brin (at) WITH (autosummarize = on);
"""


def upgrade() -> None:
    """Add the tables."""
    for tables in (ENDPOINTS, DELIVERIES, ATTEMPTS):
        for statement in tables.split(";"):
            if statement.strip():
                op.execute(statement)
