"""Payments are found by their order."""

from alembic import op

revision = "0002"
down_revision = "0001"

PAYMENTS_BY_ORDER = "CREATE INDEX payments_by_order ON payments (order_id)"


def upgrade() -> None:
    """Create the index."""
    op.execute(PAYMENTS_BY_ORDER)
