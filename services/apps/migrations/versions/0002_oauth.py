"""Partner apps, what merchants let them do, OAuth's codes and tokens, signing keys, and the staff who sign in."""

from alembic import op

from shared.auth.table import SIGNING_KEYS_TABLE

revision = "0002"
down_revision = "0001"

PARTNER_APPS = """
CREATE TABLE partner_apps (
    app_id text PRIMARY KEY,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    redirect_uris text[] NOT NULL,
    manifest jsonb NOT NULL,
    default_permission_ids text[] NOT NULL,
    money_budgets jsonb NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX partner_apps_by_time ON partner_apps (merchant_id, environment, created_at DESC, app_id DESC);
CREATE TABLE app_secrets (
    secret_id text PRIMARY KEY,
    app_id text NOT NULL,
    secret_hash text NOT NULL,
    hint text NOT NULL,
    created_at timestamptz NOT NULL,
    ends_at timestamptz
);
CREATE INDEX app_secrets_by_app ON app_secrets (app_id)
"""

# A merchant has an app once; what it may do is granted for each environment. Revoked ones stay as history.
INSTALLS = """
CREATE TABLE installs (
    install_id text PRIMARY KEY,
    app_id text NOT NULL,
    merchant_id text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX installs_live ON installs (app_id, merchant_id) WHERE status <> 'revoked';
CREATE INDEX installs_by_time ON installs (app_id, created_at DESC, install_id DESC);
CREATE TABLE environment_grants (
    grant_id text PRIMARY KEY,
    install_id text NOT NULL,
    app_id text NOT NULL,
    merchant_id text NOT NULL,
    environment text NOT NULL,
    permission_ids text[] NOT NULL,
    scopes text[] NOT NULL,
    status text NOT NULL,
    approved_by text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE UNIQUE INDEX environment_grants_live ON environment_grants (merchant_id, environment, app_id)
    WHERE status <> 'revoked';
CREATE INDEX environment_grants_by_install ON environment_grants (install_id);
CREATE INDEX environment_grants_pending ON environment_grants (created_at) WHERE status = 'pending_exchange'
"""

# Codes and refresh tokens are kept as hashes, and stay after their use, so that a second use is known as such.
OAUTH = """
CREATE TABLE oauth_codes (
    code_hash text PRIMARY KEY,
    app_id text NOT NULL,
    grant_id text NOT NULL,
    redirect_uri text NOT NULL,
    code_challenge text NOT NULL,
    permission_ids text[] NOT NULL,
    scopes text[] NOT NULL,
    approved_by text NOT NULL,
    status text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX oauth_codes_over ON oauth_codes (expires_at);
CREATE TABLE refresh_tokens (
    token_hash text PRIMARY KEY,
    app_id text NOT NULL,
    grant_id text NOT NULL,
    family_id text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX refresh_tokens_by_grant ON refresh_tokens (grant_id) WHERE status = 'active';
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id) WHERE status = 'active';
CREATE INDEX refresh_tokens_over ON refresh_tokens (expires_at);
CREATE TABLE private_signing_keys (
    kid text PRIMARY KEY,
    public_jwk jsonb NOT NULL,
    sealed_jwk bytea,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    signs_from timestamptz NOT NULL
)
"""

STAFF = """
CREATE TABLE staff_users (
    user_id text PRIMARY KEY,
    email text NOT NULL UNIQUE,
    name text NOT NULL,
    password_hash text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE staff_memberships (
    user_id text NOT NULL,
    merchant_id text NOT NULL,
    role text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, merchant_id)
);
CREATE INDEX staff_memberships_by_merchant ON staff_memberships (merchant_id, created_at DESC, user_id DESC);
CREATE TABLE staff_invitations (
    token_hash text PRIMARY KEY,
    user_id text NOT NULL,
    merchant_id text NOT NULL,
    role text NOT NULL,
    invited_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE TABLE staff_sessions (
    session_hash text PRIMARY KEY,
    user_id text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX staff_sessions_over ON staff_sessions (expires_at);
CREATE TABLE sign_in_failures (
    subject text PRIMARY KEY,
    failures integer NOT NULL,
    failed_at timestamptz NOT NULL,
    locked_until timestamptz
);
CREATE INDEX sign_in_failures_over ON sign_in_failures (failed_at)
"""


def upgrade() -> None:
    """Add the tables."""
    for tables in (SIGNING_KEYS_TABLE, PARTNER_APPS, INSTALLS, OAUTH, STAFF):
        for statement in tables.split(";"):
            op.execute(statement)
