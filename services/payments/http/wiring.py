"""What the routes of payments need, put together by the composition root and found in the app's state."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from services.payments.channels import ChannelLife
from shared.clock import Clock
from shared.http.pages import ListQuery, invalid_page_token
from shared.postgres import Pool
from shared.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Wiring:
    """`committed` is called after each commit that may have left messages in the outbox."""

    pool: Pool
    clock: Clock
    committed: Callable[[], None]
    channels: ChannelLife
    kafka: KafkaSettings


def time_position(query: ListQuery) -> tuple[datetime, str] | None:
    """Where the page of a list that is ordered by time and id starts; `None` at the first."""
    position = query.position()
    if position is None:
        return None
    try:
        created_at, last_id = position
        return datetime.fromisoformat(created_at).astimezone(UTC), last_id
    except (ValueError, OverflowError):
        raise invalid_page_token() from None
