"""When a webhook is sent again, what an endpoint's failures lead to, and which events it asks for."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, Literal, get_args

from services.apps.core.event_types import Reader, is_like
from shared.immutable import immutable, replace

DeliveryStatus = Literal["pending", "delivered", "failed", "canceled"]
EndpointStatus = Literal["active", "disabled"]
DisabledReason = Literal["requested", "gone", "failing", "revoked"]
Error = Literal[
    "address_refused",
    "dns",
    "connect",
    "tls",
    "timeout",
    "disconnected",
    "invalid_answer",
    "redirected",
    "refused",
    "gone",
    "expired",
    "withheld",
    "secret_unreadable",
]
"""Why an attempt failed. `redirected`: a 3xx status, which is not followed. `refused`: any other that is no 2xx.
Nothing was sent where it is `expired`, no longer kept, or `withheld`: the app may no longer be told of such events; or
`secret_unreadable`: the endpoint's secret is sealed with a key that we no longer have, and it is tried again."""
NotSent = Literal["expired", "withheld"]
_NOT_SENT: Final = get_args(NotSent)
_NOT_ITS_FAULT: Final = (*_NOT_SENT, "secret_unreadable")

WAITS: Final = tuple(
    timedelta(seconds=seconds) for seconds in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)
"""Between one attempt and the next; the schedule that Standard Webhooks recommends, three days and three hours."""
_JITTER = 0.1
_LONGEST_ASKED = timedelta(hours=1)
"""Of a receiver's `Retry-After`."""

DISABLED_AFTER: Final = timedelta(days=3)
"""An endpoint at which nothing has succeeded for so long is disabled at its next failure."""
_FAILURES_BEFORE_PAUSE = 5
_SHORTEST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=5)

_GONE = 410


@immutable
class Attempt:
    """One request and what came of it."""

    at: datetime
    latency_ms: int
    status_code: int | None
    error: Error | None
    """`None`: it was received."""
    retry_after: str | None = None
    response: str = ""
    """The beginning of the answer's body."""

    @property
    def ended(self) -> datetime:
        """When its outcome was known."""
        return self.at + timedelta(milliseconds=self.latency_ms)


@immutable
class Health:
    """How an endpoint has been doing since something last succeeded there."""

    failures: int = 0
    failing_since: datetime | None = None
    paused_until: datetime | None = None
    """Nothing is sent before; then one request finds out whether it is back."""


@immutable
class Fate:
    """What becomes of a delivery after an attempt."""

    status: DeliveryStatus
    due_at: datetime
    """When it is sent again, while it is pending."""


def error_of(status_code: int) -> Error | None:
    """What an answer's status means: only 2xx says that the event was received."""
    if 200 <= status_code < 300:
        return None
    if status_code == _GONE:
        return "gone"
    return "redirected" if 300 <= status_code < 400 else "refused"


def fate_of(attempt: Attempt, tries: int, draw: float) -> Fate:
    """What follows from the delivery's attempt number `tries`; `draw` (0 to 1) spreads those that failed together."""
    if attempt.error is None:
        return Fate("delivered", attempt.ended)
    if attempt.error in ("gone", *_NOT_SENT) or tries > len(WAITS):
        return Fate("failed", attempt.ended)
    wait = WAITS[tries - 1] * (1 + _JITTER * (2 * draw - 1))
    return Fate("pending", attempt.ended + max(wait, _asked(attempt)))


def health_after(health: Health, attempt: Attempt, draw: float) -> Health:
    """An endpoint that fails again and again, or that asks for it, is left alone for a while: longer each time."""
    if attempt.error is None:
        return Health()
    if attempt.error in _NOT_ITS_FAULT:
        return health
    failures = health.failures + 1
    pause = _asked(attempt)
    if failures >= _FAILURES_BEFORE_PAUSE:
        doubled = _SHORTEST_PAUSE * 2 ** min(failures - _FAILURES_BEFORE_PAUSE, 20)
        pause = max(pause, min(doubled, _LONGEST_PAUSE) * (1 + _JITTER * (2 * draw - 1)))
    return replace(
        health,
        failures=failures,
        failing_since=health.failing_since or attempt.at,
        paused_until=attempt.ended + pause if pause else health.paused_until,
    )


def disabled_by(health: Health, attempt: Attempt) -> DisabledReason | None:
    """Why the endpoint gets nothing more after this attempt, if so; `health` is the one after it."""
    if attempt.error == "gone":
        return "gone"
    if attempt.error in _NOT_ITS_FAULT:
        return None
    since = health.failing_since
    return "failing" if since is not None and attempt.at - since >= DISABLED_AFTER else None


def asks_for(event_types: Iterable[str], reader: Reader, event_type: str, grant_id: str | None) -> bool:
    """Whether an endpoint with these filters gets an event of this type, about the app with this grant if any.

    `reader` is the endpoint's owner.
    """
    return reader.is_told(event_type, grant_id) and any(is_like(event_type, pattern) for pattern in event_types)


def _asked(attempt: Attempt) -> timedelta:
    """What the receiver's `Retry-After` asks for, in seconds or as a date; nothing where it is neither."""
    text = (attempt.retry_after or "").strip()
    if text.isascii() and text.isdigit():
        asked = timedelta(seconds=min(int(text[:9]), 86_400))
    else:
        try:
            moment = parsedate_to_datetime(text)
            asked = moment.replace(tzinfo=moment.tzinfo or UTC) - attempt.at
        except (ValueError, OverflowError):
            return timedelta()
    return min(max(asked, timedelta()), _LONGEST_ASKED)
