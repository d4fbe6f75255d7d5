"""What apps take from Kafka. Effects are durable on return."""

from collections.abc import Sequence
from datetime import datetime

from services.apps.store import api_keys
from shared.contracts.access import CredentialsUsed
from shared.envelope import decode
from shared.faults import Poison
from shared.kafka import Record
from shared.kafka.reading import invalid_body, read_each
from shared.postgres import Pool, transaction


class UseConsumer:
    """`access.used`: when keys were used last."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        reports, results = read_each(records, _report_in)
        latest: dict[str, datetime] = {}
        for report in reports:
            for grant_id, used_at in report.uses.items():
                latest[grant_id] = max(used_at, latest.get(grant_id, used_at))
        if latest:
            async with transaction(self._pool) as connection:
                await api_keys.used(connection, latest)
        return results


def _report_in(record: Record) -> CredentialsUsed:
    envelope = decode(record.headers, record.key, record.value)
    if envelope.type != CredentialsUsed.wire_type:
        raise Poison("UNKNOWN_TYPE", f"no report has the type {envelope.type[:100]}")
    with invalid_body():
        return CredentialsUsed.model_validate_json(envelope.data)
