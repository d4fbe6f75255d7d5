"""Intents that pay together and their attempts, saved in one statement."""

from collections.abc import Sequence

from services.payments.core.intents.state import Attempt, Intent
from services.payments.store import attempts, intents
from shared.postgres import Connection

_SAVE = f"WITH intents AS ({intents.SAVE}) {attempts.save_after(len(intents.COLUMNS))}"


async def save(
    connection: Connection, changed: Sequence[Intent], answered: Sequence[Attempt] = (), new: Sequence[Attempt] = ()
) -> None:
    """Intents as they are now: new ones, and ones that are locked; attempts that were answered are nobody's any more;
    new ones are their maker's for as long as `CLAIMED_FOR`, where they are claimed.
    """
    if changed or answered or new:
        await connection.execute(_SAVE, *intents.columns_of(changed), *attempts.columns_of(answered, new))
