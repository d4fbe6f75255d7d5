"""Merchants and their environments, API keys, and the log of administrative acts."""

from alembic import op

from shared.auth.table import GRANTS_TABLE
from shared.idempotency import IDEMPOTENCY_TABLE
from shared.outbox import OUTBOX_TABLE

revision = "0001"
down_revision = None

MERCHANTS = """
CREATE TABLE merchants (
    merchant_id text PRIMARY KEY,
    version integer NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    country text,
    default_currency text,
    time_zone text,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX merchants_by_time ON merchants (created_at DESC, merchant_id DESC);
CREATE TABLE environments (
    environment_id text PRIMARY KEY,
    merchant_id text NOT NULL REFERENCES merchants,
    environment text NOT NULL,
    UNIQUE (merchant_id, environment)
);
"""

# A platform's key belongs to no merchant.
API_KEYS = """
CREATE TABLE api_keys (
    api_key_id text PRIMARY KEY,
    kind text NOT NULL,
    merchant_id text REFERENCES merchants,
    environment text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    allowed_origins text[] NOT NULL,
    prefix text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    overlap_ends_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
CREATE INDEX api_keys_by_time ON api_keys (created_at DESC, api_key_id DESC);
CREATE INDEX api_keys_by_tenant ON api_keys (merchant_id, environment, created_at DESC, api_key_id DESC);
"""

# A key that was rotated has several for a while; no more than the hash of a secret is ever kept.
API_KEY_SECRETS = """
CREATE TABLE api_key_secrets (
    credential_hash text PRIMARY KEY,
    api_key_id text NOT NULL REFERENCES api_keys,
    created_at timestamptz NOT NULL,
    ends_at timestamptz
);
CREATE INDEX api_key_secrets_by_key ON api_key_secrets (api_key_id);
"""

AUDIT_LOG = """
CREATE TABLE audit_log (
    audit_entry_id text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    actor_type text NOT NULL,
    actor_id text NOT NULL,
    action text NOT NULL,
    target_id text NOT NULL,
    merchant_id text,
    environment text,
    request_id text,
    changes jsonb NOT NULL
);
CREATE INDEX audit_log_by_time ON audit_log (created_at DESC, audit_entry_id DESC);
CREATE INDEX audit_log_by_merchant ON audit_log (merchant_id, created_at DESC, audit_entry_id DESC);
CREATE INDEX audit_log_by_target ON audit_log (target_id, created_at DESC, audit_entry_id DESC);
"""

# Also the service itself, whose role owns the table, can only add.
APPEND_ONLY = (
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation'; END $$
    """,
    """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)


def upgrade() -> None:
    """Create everything; the schema is empty before."""
    for tables in (
        MERCHANTS,
        API_KEYS,
        API_KEY_SECRETS,
        AUDIT_LOG,
        OUTBOX_TABLE,
        GRANTS_TABLE,
        IDEMPOTENCY_TABLE,
    ):
        for statement in tables.split(";"):
            if statement.strip():
                op.execute(statement)
    for statement in APPEND_ONLY:
        op.execute(statement)
