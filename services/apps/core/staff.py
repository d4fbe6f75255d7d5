"""The people of a merchant: what their roles allow, and how long guessing is held up."""

from datetime import datetime, timedelta
from typing import Literal

from shared.immutable import immutable

Role = Literal["owner", "manager", "finance", "support", "clerk"]

MAY_INSTALL: frozenset[Role] = frozenset(("owner", "manager"))
"""Who lets apps in and out for a merchant."""

SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 200
SESSION_LASTS = timedelta(hours=12)
INVITATION_LASTS = timedelta(days=7)
FAILURES_COUNT_FOR = timedelta(days=1)
"""Whoever has not failed for so long starts anew."""


@immutable
class Patience:
    """How many failures in a row cost nothing; each further one doubles the wait."""

    free: int
    first_wait: timedelta
    longest_wait: timedelta

    def wait_after(self, failures: int) -> timedelta | None:
        """How long nobody is heard after so many failures in a row."""
        beyond = failures - self.free
        if beyond <= 0:
            return None
        doublings = min(beyond - 1, 20)
        return min(self.first_wait * (1 << doublings), self.longest_wait)


ACCOUNT = Patience(free=4, first_wait=timedelta(seconds=30), longest_wait=timedelta(minutes=15))
"""An account waits no longer than this, so that guessing at it keeps its owner out for minutes and not for days."""
ADDRESS = Patience(free=30, first_wait=timedelta(minutes=1), longest_wait=timedelta(hours=1))
"""Many people may sit behind one address."""


@immutable
class Failures:
    """What is remembered of failed sign-ins to one account, or from one address."""

    failures: int
    failed_at: datetime
    locked_until: datetime | None

    def locks(self, now: datetime) -> bool:
        """Whether nobody is heard now."""
        return self.locked_until is not None and now < self.locked_until


def after_failure(known: Failures | None, patience: Patience, now: datetime) -> Failures:
    """What is remembered after one more."""
    recent = known is not None and now - known.failed_at < FAILURES_COUNT_FOR
    count = (known.failures if known is not None and recent else 0) + 1
    wait = patience.wait_after(count)
    return Failures(count, now, None if wait is None else now + wait)


def email_key(email: str) -> str:
    """How an e-mail address is compared: case never tells two people apart."""
    return email.strip().casefold()
