"""When credentials were used, as this process saw it: told to the apps service about once a minute, through the outbox.

So that nothing is written for a request, the last minute of a process that is killed is lost.
"""

from collections.abc import Mapping
from datetime import datetime

from shared.clock import Clock
from shared.contracts.access import MOST_USES, CredentialsUsed
from shared.envelope import Envelope
from shared.faults import Transient
from shared.ids import new_id
from shared.outbox import OutboxMessage, put
from shared.postgres import Pool, transaction
from shared.topics import ACCESS_USED


class Uses:
    """The last use of each credential since the last report."""

    def __init__(self, service: str, clock: Clock) -> None:
        self._service, self._clock = service, clock
        self._latest: dict[str, datetime] = {}

    def note(self, grant_id: str) -> None:
        """It was used now."""
        self._latest[grant_id] = self._clock()

    async def report(self, pool: Pool) -> bool:
        """Put what was noted into the outbox, and say whether there was anything. An outage leaves it for later."""
        noted, self._latest = self._latest, {}
        if not noted:
            return False
        try:
            async with transaction(pool) as connection:
                await put(connection, _messages(self._service, noted))
        except Transient:
            self._latest = {**noted, **self._latest}
            raise
        return True


def _messages(service: str, noted: Mapping[str, datetime]) -> list[OutboxMessage]:
    uses = list(noted.items())
    bodies = [CredentialsUsed(uses=dict(uses[first : first + MOST_USES])) for first in range(0, len(uses), MOST_USES)]
    return [OutboxMessage(ACCESS_USED, _envelope(service, body)) for body in bodies]


def _envelope(service: str, body: CredentialsUsed) -> Envelope:
    return Envelope(
        id=new_id("evt"),
        type=body.wire_type,
        source=f"/services/{service}",
        data=body.model_dump_json().encode(),
        key=service,
    )
