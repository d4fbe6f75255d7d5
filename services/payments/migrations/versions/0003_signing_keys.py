"""The public keys by which access tokens of installed apps are known."""

from alembic import op

from shared.auth.table import SIGNING_KEYS_TABLE

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table."""
    op.execute(SIGNING_KEYS_TABLE)
