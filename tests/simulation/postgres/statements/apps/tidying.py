"""What forgets codes, tokens, sign-ins and sessions, of which nothing that is simulated makes any."""

from datetime import datetime
from operator import itemgetter
from typing import Any

from services.apps.store.installs import _GRANT
from tests.simulation.postgres.client import Rows, Statements
from tests.simulation.postgres.engine import Transaction
from tests.simulation.postgres.statements.rows import picked

statement = Statements()

_CODES_AND_TOKENS = (("oauth_codes", "code_hash"), ("refresh_tokens", "token_hash"))
_OF_STAFF = (
    "staff_sessions WHERE expires_at <= $1",
    "staff_invitations WHERE expires_at <= $1",
    "oidc_flows WHERE expires_at <= $1",
    "sign_in_failures WHERE failed_at < $1",
)


@statement(
    f"""
    SELECT {_GRANT} FROM environment_grants WHERE status = 'pending_exchange' AND updated_at < $1
    ORDER BY created_at LIMIT $2
    """
)
def never_exchanged(t: Transaction, before: datetime, limit: int) -> Rows:
    rows = (
        row
        for row in t.scan(t.database["environment_grants"])
        if row["status"] == "pending_exchange" and row["updated_at"] < before
    )
    return picked(sorted(rows, key=itemgetter("created_at"))[:limit], _GRANT.split(", "))


def _nothing(_: Transaction, *__: Any) -> str:
    return "DELETE 0"


for table, key in _CODES_AND_TOKENS:
    over = f"SELECT {key} FROM {table} WHERE expires_at < $1 ORDER BY expires_at LIMIT $2"
    statement(f"DELETE FROM {table} WHERE {key} IN ( {over} )")(_nothing)
for what in _OF_STAFF:
    statement(f"DELETE FROM {what}")(_nothing)
