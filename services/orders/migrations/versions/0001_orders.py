"""Orders, their history, customers, numbers, and the tables of the write path."""

from alembic import op

from shared.auth.table import GRANTS_TABLE
from shared.idempotency import IDEMPOTENCY_TABLE
from shared.inbox import INBOX_TABLE
from shared.outbox import OUTBOX_TABLE

revision = "0001"
down_revision = None

# Lists are ordered by (created_at, order_id), newest first; every index of a filter ends with these two, so that a page
# is read from one index whatever the filter. Partial ones keep what most orders lack out of them.
ORDERS = """
CREATE TABLE orders (
    order_id text PRIMARY KEY,
    version integer NOT NULL,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    number text NOT NULL,
    status text NOT NULL,
    payment_status text NOT NULL,
    refund_status text NOT NULL,
    source text NOT NULL,
    currency text NOT NULL,
    total_minor bigint NOT NULL,
    customer_id text,
    external_reference text,
    location_id text,
    device_id text,
    next_lease_expiry timestamptz,
    state jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX orders_by_time ON orders (merchant_id, environment, created_at DESC, order_id DESC);
CREATE INDEX orders_by_number ON orders (merchant_id, environment, number, created_at DESC, order_id DESC);
CREATE INDEX orders_by_status
    ON orders (merchant_id, environment, status, payment_status, created_at DESC, order_id DESC);
CREATE INDEX orders_by_payment_status
    ON orders (merchant_id, environment, payment_status, created_at DESC, order_id DESC);
CREATE INDEX orders_by_refund_status
    ON orders (merchant_id, environment, refund_status, created_at DESC, order_id DESC) WHERE refund_status <> 'none';
CREATE INDEX orders_by_source ON orders (merchant_id, environment, source, created_at DESC, order_id DESC);
CREATE INDEX orders_by_total ON orders (merchant_id, environment, total_minor, created_at DESC, order_id DESC);
CREATE INDEX orders_by_customer
    ON orders (merchant_id, environment, customer_id, created_at DESC, order_id DESC) WHERE customer_id IS NOT NULL;
CREATE INDEX orders_by_external_reference
    ON orders (merchant_id, environment, external_reference, created_at DESC, order_id DESC)
    WHERE external_reference IS NOT NULL;
CREATE INDEX orders_by_location
    ON orders (merchant_id, environment, location_id, created_at DESC, order_id DESC) WHERE location_id IS NOT NULL;
CREATE INDEX orders_by_device
    ON orders (merchant_id, environment, device_id, created_at DESC, order_id DESC) WHERE device_id IS NOT NULL;
CREATE INDEX orders_by_lease_expiry ON orders (next_lease_expiry) WHERE next_lease_expiry IS NOT NULL;
"""

HISTORY = """
CREATE TABLE order_events (
    order_id text NOT NULL,
    version integer NOT NULL,
    type text NOT NULL,
    payload jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (order_id, version)
);
"""

# Each word is stored together with whose it is, so that one tenant's common words are not another one's postings.
# Apart from the orders, because their rows change with every payment and their words hardly ever.
SEARCH = """
CREATE TABLE order_search (order_id text PRIMARY KEY, words tsvector NOT NULL);
CREATE INDEX order_search_words ON order_search USING gin (words) WITH (fastupdate = on);
"""

NUMBERS = """
CREATE TABLE order_numbers (
    merchant_id text NOT NULL,
    environment text NOT NULL,
    next_number bigint NOT NULL,
    PRIMARY KEY (merchant_id, environment)
);
"""

CUSTOMERS = """
CREATE TABLE customers (
    customer_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    version integer NOT NULL,
    name text,
    email text,
    phone text,
    external_reference text,
    metadata jsonb NOT NULL,
    words tsvector NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX customers_by_time ON customers (merchant_id, environment, created_at DESC, customer_id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX customers_by_email ON customers (merchant_id, environment, lower(email)) WHERE deleted_at IS NULL;
CREATE INDEX customers_by_external_reference ON customers (merchant_id, environment, external_reference)
    WHERE deleted_at IS NULL;
CREATE INDEX customers_words ON customers USING gin (words);
"""


def upgrade() -> None:
    """Create everything; the schema is empty before."""
    for tables in (
        ORDERS,
        HISTORY,
        SEARCH,
        NUMBERS,
        CUSTOMERS,
        INBOX_TABLE,
        OUTBOX_TABLE,
        GRANTS_TABLE,
        IDEMPOTENCY_TABLE,
    ):
        for statement in tables.split(";"):
            if statement.strip():
                op.execute(statement)
