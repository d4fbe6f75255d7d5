"""How many requests may be under way at once, in all and at each endpoint."""

from collections import Counter
from collections.abc import Iterable

from services.apps.store.sending import Room
from shared.immutable import immutable

_AT_FIRST = 2


@immutable
class Width:
    """How much one process sends at once."""

    at_once: int = 256
    to_one_endpoint: int = 16


class Flow:
    """Keeps account of what is under way.

    An endpoint may have a little more under way than it is answering at the moment, up to a limit: while there is much
    to send this grows with every answer. One that stops answering therefore holds few requests, however lively it was.
    """

    def __init__(self, width: Width) -> None:
        self._width = width
        self._first = min(_AT_FIRST, width.to_one_endpoint)
        self._under_way: Counter[str] = Counter()
        self._allowed: dict[str, int] = {}

    def began(self, endpoint_id: str) -> None:
        """A request is under way."""
        self._under_way[endpoint_id] += 1

    def answered(self, endpoint_id: str, *, well: bool) -> None:
        """A request that is still under way has its outcome."""
        grown = min(self._width.to_one_endpoint, self._under_way[endpoint_id] + 1)
        self._allowed[endpoint_id] = grown if well else 1

    def ended(self, endpoint_id: str) -> None:
        """A request is no longer under way."""
        self._under_way[endpoint_id] -= 1
        if not self._under_way[endpoint_id]:
            del self._under_way[endpoint_id]
            if self._allowed.get(endpoint_id, 0) <= self._first:
                self._allowed.pop(endpoint_id, None)

    def room(self, slow: Iterable[str]) -> Room:
        """What may begin. `slow` names the endpoint of every slow request: once half of all are, they get no more."""
        waiting = list(slow)
        free = {
            endpoint_id: max(0, self._allowed.get(endpoint_id, self._first) - self._under_way[endpoint_id])
            for endpoint_id in self._under_way.keys() | self._allowed.keys()
        }
        if len(waiting) >= self._width.at_once // 2:
            free |= dict.fromkeys(waiting, 0)
        under_way = self._under_way.total()
        return Room(max(0, self._width.at_once - under_way), self._first, free)
