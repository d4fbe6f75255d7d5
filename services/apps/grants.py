"""Grants leave through the outbox with the change that causes them, and reach every service's own copy."""

from collections.abc import Sequence

from shared.contracts.access import Grant
from shared.envelope import Envelope
from shared.ids import new_id
from shared.outbox import OutboxMessage, put
from shared.postgres import Connection
from shared.topics import ACCESS_GRANTS

SOURCE = "/services/apps"


async def publish(connection: Connection, grants: Sequence[Grant]) -> None:
    """Every service knows of these once the transaction has committed, well within a second.

    The newest word about a credential counts: whoever publishes one holds the lock of the row that it follows from.
    """
    await put(connection, [OutboxMessage(ACCESS_GRANTS, _envelope(grant)) for grant in grants])


def _envelope(grant: Grant) -> Envelope:
    return Envelope(
        id=new_id("evt"),
        type=grant.wire_type,
        source=SOURCE,
        data=grant.model_dump_json().encode(),
        key=grant.credential_hash,
        subject=grant.grant_id,
        merchant_id=grant.merchant_id,
        environment=grant.environment,
    )
