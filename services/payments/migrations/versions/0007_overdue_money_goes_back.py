"""Money whose time is over is given back by its processor: what is due is found without looking at what has ended."""

from alembic import op

revision = "0007"
down_revision = "0006"

TO_GIVE_BACK = """
CREATE INDEX unmatched_money_to_give_back ON unmatched_money (created_at)
    WHERE status = 'return_due' AND refusal IS NULL
"""


def upgrade() -> None:
    """Create the index."""
    op.execute(TO_GIVE_BACK)
