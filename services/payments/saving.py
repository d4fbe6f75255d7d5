"""What follows from what happened to intents, saved in one transaction."""

from collections.abc import Sequence

from services.payments.core.intents.moves import Moves
from services.payments.core.intents.state import Attempt
from services.payments.intent_messages import command_message, event_messages
from services.payments.store import groups
from shared import outbox
from shared.postgres import Connection


async def save(connection: Connection, moves: Sequence[Moves], answered: Sequence[Attempt] = ()) -> None:
    """Two statements at most, however many intents there are."""
    changed = [intent for each in moves for intent in each.changed]
    known = {attempt.attempt_id: attempt for attempt in answered}
    await groups.save(connection, changed, list(known.values()), [one for each in moves for one in each.attempts])
    told = [command_message(command) for each in moves for command in each.commands]
    await outbox.put(connection, [*told, *(message for each in moves for message in event_messages(each.events))])
