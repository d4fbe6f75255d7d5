"""One order through every channel, as stories, every step of which is checked.

Everything is done from outside: HTTP with an API key, librdkafka with the channel's own credentials, and requests as a
browser makes them.
"""

from collections.abc import Callable, Sequence
from typing import Any

from deploy.demo import channel, paying, trouble, unmatched
from deploy.demo.shop import Shop
from deploy.demo.words import console, heading
from deploy.local.problem import RuntimeProblem

Story = Callable[[Shop], None]

STORIES: dict[str, Story] = {
    "channel": channel.a_channel_pays,
    "pay": paying.in_one_call,
    "declined": paying.another_card,
    "capture": paying.capture_in_parts,
    "split": paying.from_three_sources,
    "race": trouble.two_tills_race,
    "lost-reply": trouble.the_reply_is_lost,
    "challenge": trouble.the_bank_asks_back,
    "unmatched": unmatched.money_finds_its_order,
}
"""By the names that `--story` takes, in the order in which they are told."""


def run(status: dict[str, Any], observer: dict[str, Any], names: Sequence[str] = ()) -> None:
    """Tell the stories against a running installation, all or those that are named.

    Raises a `RuntimeProblem` when one does not go as it should.

    `status` is what `throughline status --json` says; `observer` has a `username` and `password` that may read
    `orders.events`.
    """
    unknown = sorted(set(names) - STORIES.keys())
    if unknown:
        raise RuntimeProblem(f"There is no story called {', '.join(unknown)}. There are: {', '.join(STORIES)}.")
    with Shop(status, observer) as shop:
        for number, name in enumerate(names or STORIES, start=1):
            story = STORIES[name]
            heading(f"{number}. {(story.__doc__ or name).splitlines()[0].rstrip('.')}")
            story(shop)
    console.print("\n[bold green]Done.[/bold green] Every step above was checked, not only printed.")
