"""What changed lately, and what waits, is found without reading the events that did not."""

from alembic import op

revision = "0002"
down_revision = "0001"

CHANGED = "CREATE INDEX channel_events_by_change ON channel_events USING brin (changed_at) WITH (autosummarize = on)"
WAITING = """
CREATE INDEX channel_events_without_order ON channel_events (received_at) WHERE status IN ('waiting', 'held')
"""


def upgrade() -> None:
    """Add the indexes."""
    op.execute(CHANGED)
    op.execute(WAITING)
