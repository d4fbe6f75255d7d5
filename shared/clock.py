"""The time, as an argument: whatever needs it takes a `Clock`, so that tests and simulations can turn it."""

import time
from asyncio import get_running_loop
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds of a clock that never goes back: the event loop's, or outside of one the system's."""
    try:
        return get_running_loop().time()
    except RuntimeError:
        return time.monotonic()
