"""Every command has one outcome for ever: recorded with its effect, given again when the command comes again.

The key is the aggregate and the command id: the aggregate leads, so that the table can be distributed by it and its
index grows where orders are young.
"""

from collections.abc import Sequence
from datetime import datetime

from shared.postgres import Connection
from shared.writes import NewRows

INBOX_TABLE = """
CREATE TABLE inbox (
    aggregate_id text NOT NULL,
    command_id text NOT NULL,
    outcome jsonb NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (aggregate_id, command_id)
)
"""

_COLUMNS = (("aggregate_id", "text"), ("command_id", "text"), ("outcome", "jsonb"), ("recorded_at", "timestamptz"))

CommandKey = tuple[str, str]
"""Aggregate id and command id."""


async def recall(connection: Connection, keys: Sequence[CommandKey]) -> dict[CommandKey, str]:
    """The recorded outcomes (JSON) of those of the commands that were handled before; one statement.

    Ask after the aggregates' rows are locked: what another worker did to them is then visible.
    """
    rows = await connection.fetch(
        """
        SELECT aggregate_id, command_id, outcome::text AS outcome
        FROM unnest($1::text[], $2::text[]) AS asked(aggregate_id, command_id)
        JOIN inbox USING (aggregate_id, command_id)
        """,
        [key for key, _ in keys],
        [command for _, command in keys],
    )
    return {(row["aggregate_id"], row["command_id"]): row["outcome"] for row in rows}


def rows_of(outcomes: Sequence[tuple[CommandKey, str]], now: datetime) -> NewRows:
    """What keeps the outcomes (JSON) of these commands.

    A command that another worker recorded meanwhile is a unique violation: the transaction is run again and finds it.
    """
    return NewRows("inbox", _COLUMNS, [(key, command, outcome, now) for (key, command), outcome in outcomes])
