"""An order's words are marked with the month of its creation, by which a search goes back in time.

While it runs, and until the last process of the version before has ended, a search may miss orders.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

MARKED = """
UPDATE order_search AS s SET words = array_to_tsvector(ARRAY(
    SELECT left(word, 8) || to_char(o.created_at AT TIME ZONE 'UTC', 'YYMM') || substr(word, 9)
    FROM unnest(tsvector_to_array(s.words)) AS word
))
FROM orders AS o WHERE o.order_id = s.order_id
"""


def upgrade() -> None:
    """Mark the words that are there."""
    op.execute(MARKED)
