"""Who staff are at the company's own provider, and sign-ins there that are under way."""

from alembic import op

revision = "0006"
down_revision = "0005"

# Of a sign-in under way the browser keeps the secret; whose account it waits to be connected with is known once the
# provider has vouched for somebody.
OIDC = """
CREATE TABLE staff_identities (
    issuer text NOT NULL,
    subject text NOT NULL,
    user_id text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject),
    UNIQUE (user_id, issuer)
);
CREATE TABLE oidc_flows (
    flow_hash text PRIMARY KEY,
    next_path text NOT NULL,
    answered boolean NOT NULL DEFAULT false,
    subject text,
    user_id text,
    expires_at timestamptz NOT NULL
);
CREATE INDEX oidc_flows_over ON oidc_flows (expires_at)
"""


def upgrade() -> None:
    """Add the tables."""
    for statement in OIDC.split(";"):
        op.execute(statement)
