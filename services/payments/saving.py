"""What follows from what happened to intents, saved in one transaction."""

from collections.abc import Sequence

from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Attempt
from services.payments.intent_messages import command_message, event_messages
from services.payments.store import attempts, intents
from shared import outbox
from shared.postgres import Connection
from shared.writes import NewRows, Write, write


async def save(
    connection: Connection, moves: Sequence[Moves], answered: Sequence[Attempt] = (), *further: Write | NewRows | None
) -> None:
    """Intents, attempts and messages together, and what else is written with them."""
    changed = [intent for each in moves for intent in each.changed]
    known = {attempt.attempt_id: attempt for attempt in answered}
    told = [command_message(command) for each in moves for command in each.commands]
    await write(
        connection,
        intents.saved(changed),
        attempts.saved(list(known.values()), [one for each in moves for one in each.attempts]),
        outbox.rows_of([*told, *(message for each in moves for message in event_messages(each.events))]),
        *further,
    )
