"""Payments, attempts with their answers, and the ledger."""

from alembic import op

revision = "0001"
down_revision = None

# The row of a payment is what everything about it is serialised on; amounts are the ledger's sums.
PAYMENTS = """
CREATE TABLE payments (
    payment_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL CHECK (environment = 'test'),
    attempt_id text NOT NULL,
    order_id text NOT NULL,
    payment_intent_id text NOT NULL,
    currency text NOT NULL,
    token text NOT NULL,
    amount_minor bigint NOT NULL,
    capture boolean NOT NULL,
    return_url text,
    ends_at timestamptz NOT NULL,
    challenged boolean NOT NULL,
    due_at timestamptz
) WITH (fillfactor = 80)
"""
PAYMENTS_DUE = "CREATE INDEX payments_due ON payments (merchant_id, environment, due_at) WHERE due_at IS NOT NULL"

# `answer` is what a repeat gets for ever; `outcome` is what a look-up finds, where that became something else.
ATTEMPTS = """
CREATE TABLE attempts (
    merchant_id text NOT NULL,
    environment text NOT NULL,
    attempt_id text NOT NULL,
    request_hash text,
    payment_id text,
    answer jsonb NOT NULL,
    outcome jsonb,
    movement_id text,
    amount_minor bigint NOT NULL DEFAULT 0,
    fails_at timestamptz,
    PRIMARY KEY (merchant_id, environment, attempt_id)
)
"""
ATTEMPTS_FAILING = "CREATE INDEX attempts_failing ON attempts (payment_id) WHERE fails_at IS NOT NULL"

# Two rows for each movement, one less and one more. Nothing is changed or deleted.
ENTRIES = """
CREATE TABLE entries (
    movement_id text NOT NULL,
    account text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
    currency text NOT NULL,
    kind text NOT NULL,
    payment_id text NOT NULL,
    attempt_id text,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    made_at timestamptz NOT NULL,
    PRIMARY KEY (movement_id, account)
)
"""
ENTRIES_BY_PAYMENT = "CREATE INDEX entries_by_payment ON entries (payment_id)"
ENTRIES_BY_TIME = "CREATE INDEX entries_by_time ON entries (merchant_id, environment, made_at, movement_id)"
REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the ledger is only added to'; END $$
"""
ONLY_ADDED_TO = """
CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    """Create everything; the schema is empty before."""
    for statement in (
        PAYMENTS,
        PAYMENTS_DUE,
        ATTEMPTS,
        ATTEMPTS_FAILING,
        ENTRIES,
        ENTRIES_BY_PAYMENT,
        ENTRIES_BY_TIME,
        REFUSE,
        ONLY_ADDED_TO,
    ):
        op.execute(statement)
