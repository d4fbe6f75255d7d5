"""Public events, kept for a while; the Kafka topics of installed apps, and what is published on them again."""

from alembic import op

revision = "0003"
down_revision = "0002"

# Dropped by the week. The sequence numbers events in the order in which they become visible: see store/events.py.
EVENTS = """
CREATE SEQUENCE event_positions;
CREATE TABLE events (
    event_id text NOT NULL,
    created_at timestamptz NOT NULL,
    position bigint NOT NULL DEFAULT nextval('event_positions'),
    type text NOT NULL,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    order_id text NOT NULL,
    order_version integer NOT NULL,
    actor_type text NOT NULL,
    actor_id text NOT NULL,
    cause_type text,
    cause_id text,
    change bytea NOT NULL,
    order_after bytea NOT NULL,
    customer bytea,
    PRIMARY KEY (event_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX events_by_position ON events (position);
CREATE INDEX events_by_tenant ON events (merchant_id, environment, position);
CREATE INDEX events_by_type ON events (merchant_id, environment, type, position);
CREATE INDEX events_by_order ON events (order_id, position)
"""

# `filled_to` is the position up to which a topic that is not ready yet has its events.
PLUGIN_TOPICS = """
CREATE TABLE plugin_topics (
    app_id text PRIMARY KEY,
    status text NOT NULL,
    filled_to bigint NOT NULL,
    has_credentials boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX plugin_topics_unfinished ON plugin_topics (updated_at) WHERE status <> 'ready';
CREATE INDEX environment_grants_by_app ON environment_grants (app_id) WHERE status = 'active'
"""

PLUGIN_REPLAYS = """
CREATE TABLE plugin_replays (
    replay_id text PRIMARY KEY,
    app_id text NOT NULL,
    environment text NOT NULL,
    merchant_id text,
    created_from timestamptz NOT NULL,
    begins_after bigint NOT NULL,
    done_to bigint NOT NULL,
    ends_at bigint NOT NULL,
    published bigint NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX plugin_replays_running ON plugin_replays (app_id) WHERE status = 'running'
"""


def upgrade() -> None:
    """Add the tables."""
    for tables in (EVENTS, PLUGIN_TOPICS, PLUGIN_REPLAYS):
        for statement in tables.split(";"):
            op.execute(statement)
