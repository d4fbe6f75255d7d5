"""How many requests may be under way at once, in all and at each endpoint."""

from collections import Counter
from collections.abc import Iterable

from services.apps.store.sending import Room
from shared.immutable import immutable

_AT_FIRST = 2


@immutable
class Width:
    """How much one process sends at once."""

    at_once: int = 512
    to_one_endpoint: int = 16


class Flow:
    """Keeps account of what is under way, from turn to turn.

    An endpoint that uses all its room may have one more under way for every answer, up to a limit: so it grows while
    there is much to send. One that stops answering holds no more requests than it could use before.
    """

    def __init__(self, width: Width) -> None:
        self._width = width
        self._first = min(_AT_FIRST, width.to_one_endpoint)
        self._under_way: Counter[str] = Counter()
        self._allowed: dict[str, int] = {}
        """Of endpoints that have any under way, or had in the last turn."""
        self._free: dict[str, int] = {}
        self._begun: Counter[str] = Counter()
        """In this turn."""
        self._ended: set[str] = set()

    def began(self, endpoint_id: str) -> None:
        """A request is under way."""
        self._under_way[endpoint_id] += 1
        self._begun[endpoint_id] += 1

    def answered(self, endpoint_id: str, *, well: bool) -> None:
        """A request that is still under way has its outcome."""
        allowed = self._allowed.get(endpoint_id, self._first)
        all_begun = self._begun[endpoint_id] >= self._free.get(endpoint_id, self._first)
        grown = min(self._width.to_one_endpoint, max(self._first, allowed + all_begun))
        self._allowed[endpoint_id] = grown if well else 1

    def ended(self, endpoint_id: str) -> None:
        """A request is no longer under way."""
        self._under_way[endpoint_id] -= 1
        if not self._under_way[endpoint_id]:
            del self._under_way[endpoint_id]
        self._ended.add(endpoint_id)

    def room(self, slow: Iterable[str]) -> Room:
        """What may begin in the turn that begins now. `slow` names the endpoint of every slow request: once half of all
        are, they get no more."""
        lately = self._under_way.keys() | self._ended
        self._allowed = {endpoint_id: self._allowed.get(endpoint_id, self._first) for endpoint_id in lately}
        self._free = {
            endpoint_id: max(0, allowed - self._under_way[endpoint_id])
            for endpoint_id, allowed in self._allowed.items()
        }
        self._begun.clear()
        self._ended.clear()
        waiting = list(slow)
        if len(waiting) >= self._width.at_once // 2:
            self._free |= dict.fromkeys(waiting, 0)
        under_way = self._under_way.total()
        return Room(max(0, self._width.at_once - under_way), self._first, self._free)
