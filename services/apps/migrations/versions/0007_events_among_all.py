"""The index of everybody's events is one that no merchant's list is read by."""

from alembic import op

revision = "0007"
down_revision = "0006"

# On an expression, which only those queries have that follow all events: see store/events.py.
STATEMENTS = (
    "DROP INDEX events_by_position",
    "CREATE INDEX events_by_position ON events ((position + 0))",
)


def upgrade() -> None:
    """Replace the index."""
    for statement in STATEMENTS:
        op.execute(statement)
