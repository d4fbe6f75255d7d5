"""Codes and refresh tokens know what they gave and by which idempotency key: a lost answer can be asked for again."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns."""
    for table in ("oauth_codes", "refresh_tokens"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN successor_hash text, ADD COLUMN idempotency_hash text")
