"""All routes of the matrix."""

from tests.access import apps, events, orders, payments, webhooks
from tests.access.matrix import Entry

ENTRIES: dict[str, Entry] = {
    **orders.ENTRIES,
    **payments.ENTRIES,
    **apps.ENTRIES,
    **events.ENTRIES,
    **webhooks.ENTRIES,
}
OPEN = apps.OPEN
PAGES = apps.PAGES
"""Open routes that are no part of the API: pages for people, probes, the reference."""
