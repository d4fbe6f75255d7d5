"""What is asked for again and again, in memory: the grants in use, and the signing keys; never older than it says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from joserfc.jwk import ECKey

from shared.auth.access import KnownGrant
from shared.clock import monotonic

LARGEST = 10_000
KNOWN_S = 30.0
"""A known grant is read again after this: a second net below the tail, which drops changed ones at once."""
UNKNOWN_S = 1.0
"""An unknown credential is looked up again after this: it may have been created a moment ago."""


@dataclass(frozen=True, slots=True)
class _Entry:
    grant: KnownGrant | None
    until: float


class GrantCache:
    """Grants by credential hash.

    A reader takes `generation` before it reads the table and hands it back with what it found, so that what was read
    before a change is not kept after it.
    """

    def __init__(self, timer: Callable[[], float] = monotonic, largest: int = LARGEST) -> None:
        self._timer = timer
        self._largest = largest
        self._entries: dict[str, _Entry] = {}
        self.generation = 0
        self._unsaved: set[str] = set()

    def is_unsaved(self, credential_hash: str) -> bool:
        """Whether a change of this grant was seen that the table does not have yet."""
        return credential_hash in self._unsaved

    def mark_unsaved(self, credential_hashes: set[str]) -> None:
        """The table lags behind for these."""
        self._unsaved |= credential_hashes

    def get(self, credential_hash: str) -> tuple[bool, KnownGrant | None]:
        """Whether it is known here, and what is known: None stands for a credential that nobody has."""
        entry = self._entries.get(credential_hash)
        if entry is None or entry.until <= self._timer():
            return False, None
        return True, entry.grant

    def put(self, credential_hash: str, grant: KnownGrant | None, generation: int) -> None:
        """Keeps what was read, unless something has changed since `generation`."""
        if generation != self.generation:
            return
        self._entries.pop(credential_hash, None)
        while len(self._entries) >= self._largest:
            del self._entries[next(iter(self._entries))]
        age = UNKNOWN_S if grant is None else KNOWN_S
        self._entries[credential_hash] = _Entry(grant, self._timer() + age)

    def mark_saved(self, credential_hashes: set[str]) -> None:
        """The table has what was seen of these."""
        self._unsaved -= credential_hashes
        self.drop(credential_hashes)

    def drop(self, credential_hashes: set[str]) -> None:
        """Forgets these, also where one is being read right now."""
        self.generation += 1
        for credential_hash in credential_hashes:
            self._entries.pop(credential_hash, None)

    def clear(self) -> None:
        """Forgets everything."""
        self.generation += 1
        self._entries.clear()


class KeyCache:
    """All signing keys that count, for they are few; forgotten together when one changes.

    Readers keep to `generation` as with grants. It changes with the keys, so that what was concluded from other keys is
    known as such.
    """

    def __init__(self, timer: Callable[[], float] = monotonic) -> None:
        self._timer = timer
        self._keys: Mapping[str, ECKey] | None = None
        self._until = 0.0
        self.generation = 0
        self.unsaved = False
        """Whether a change was seen that the table does not have yet."""

    def get(self) -> Mapping[str, ECKey] | None:
        """The keys by `kid`; None when they are to be read."""
        return self._keys if self._until > self._timer() else None

    def put(self, keys: Mapping[str, ECKey], generation: int) -> None:
        """Keeps what was read, unless something has changed since `generation`."""
        if generation != self.generation:
            return
        if self._keys is not None and self._keys.keys() != keys.keys():
            self.generation += 1
        self._keys, self._until = keys, self._timer() + KNOWN_S

    def drop(self) -> None:
        """Forgets all, also where they are being read right now."""
        self.generation += 1
        self._keys, self._until = None, 0.0
