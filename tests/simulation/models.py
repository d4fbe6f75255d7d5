"""Channels and buyers: the lives that orders can have, drawn from the world's own random numbers.

A life is a few messages: its services may crash, its messages come twice and late; it never gives up on any.
"""

from tests.simulation.books import Books
from tests.simulation.life import Life, Story
from tests.simulation.stories import buyers, channels, holders, races, staff
from tests.simulation.world_api import World

_BY_HTTP_ONE_IN = 5
_BY_INTENTS = 0.6

STORIES: dict[Story, int] = {
    channels.paid: 8,
    channels.paid_in_parts: 4,
    channels.authorized: 5,
    channels.refunded: 4,
    channels.early: 4,
    channels.misdirected: 2,
    channels.garbage: 1,
    channels.after_the_end: 3,
    holders.rivals: 3,
    holders.confused: 1,
    holders.handed_over: 1,
    holders.slow: 1,
    holders.authorizing: 1,
    staff.edited: 3,
    staff.made_cheaper: 1,
    staff.ended_under_leases: 1,
    staff.given_back: 3,
    staff.muddled: 1,
}
"""What happens, and how often."""


RACES: dict[Story, int] = {
    races.double_click: 2,
    races.two_tills: 3,
    races.checkout_completed_twice: 2,
    races.told_by_two: 2,
    races.beside_a_channel: 1,
    races.refund_beside_capture: 1,
    races.cancel_beside_capture: 3,
    races.order_changes_beside: 2,
}
"""What other order systems are known to have gone wrong by."""
COLLECTING: dict[Story, int] = {
    buyers.paid: 6,
    buyers.split: 5,
    buyers.held: 5,
    buyers.unheard: 1,
    buyers.thought_better: 3,
    buyers.challenged: 3,
    buyers.standalone: 2,
    **RACES,
}
"""Where there is an acquirer."""


async def lifecycle(world: World, books: Books, number: int, story: Story | None = None) -> None:
    """One order from its beginning, or from before it, to whatever end it has; the story is drawn unless given."""
    life = Life(world, books, number)
    if story is None:
        by_http = world.http and life.chance(_BY_HTTP_ONE_IN)
        story = staff.by_http if by_http else _drawn(world)
    await story(life)
    await life.repeat()


def _drawn(world: World) -> Story:
    stories = COLLECTING if world.intents and world.random.random() < _BY_INTENTS else STORIES
    return world.random.choices(list(stories), list(stories.values()))[0]
