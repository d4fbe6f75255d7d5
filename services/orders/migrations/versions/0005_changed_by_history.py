"""What changed lately is found by its history and its commands, which lie in the order in which they came."""

from alembic import op

revision = "0005"
down_revision = "0004"

# Commands on old orders leave new times in pages all over the table: nearly every range of such an index then had one.
STATEMENTS = (
    "DROP INDEX orders_by_change",
    "CREATE INDEX order_events_by_time ON order_events USING brin (recorded_at) WITH (autosummarize = on)",
    "CREATE INDEX inbox_by_time ON inbox USING brin (recorded_at) WITH (autosummarize = on)",
)


def upgrade() -> None:
    """Replace the index."""
    for statement in STATEMENTS:
        op.execute(statement)
