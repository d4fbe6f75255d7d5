"""Lists in pages: a token says where the next page starts and for which filters it was made.

A token is no secret and grants nothing: a list only ever holds what its caller may see. Its digest finds tokens that
were cut, edited or made for other filters; the position in it must still be treated as text from outside.
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, TypeVar

import orjson
from pydantic import AfterValidator, BeforeValidator, Field

from shared.contracts.model import in_utc
from shared.http.bodies import RequestModel
from shared.http.problems import Problem

T = TypeVar("T")
TimePosition = tuple[datetime, str]
"""When an object was created, and its id."""

DEFAULT_PAGE_SIZE = 20
LARGEST_PAGE = 100
_LONGEST_TOKEN = 2_000
_DIGEST_BYTES = 12

_DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)


def _written_out(moment: object) -> object:
    """Of a query's text, the parser would take `0.5` for half a second of 1970."""
    if isinstance(moment, str) and not _DATE_AND_TIME.match(moment):
        raise ValueError("must be a date and time, such as 2026-11-21T12:00:00Z")
    return moment


QueryTime = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(in_utc)]
"""A moment in a query, as `2026-11-21T12:00:00Z`."""


class ListQuery(RequestModel):
    """What every list takes; a service's list adds its filters."""

    page_size: Annotated[int, Field(ge=1, le=LARGEST_PAGE, description="Objects per page.")] = DEFAULT_PAGE_SIZE
    page_token: Annotated[str | None, Field(description="`next_page_token` of the page before.")] = None

    def filters(self) -> dict[str, object]:
        """The filters that a page token is bound to: everything but the page itself."""
        return self.model_dump(mode="json", exclude={"page_size", "page_token"}, exclude_none=True)

    def position(self) -> tuple[str, ...] | None:
        """Where this page starts, None at the first; raises the problem of a token that does not belong here."""
        return None if self.page_token is None else decode_page_token(self.page_token, self.filters())

    def time_position(self) -> TimePosition | None:
        """The same, in a list that is ordered by time and id."""
        position = self.position()
        if position is None:
            return None
        try:
            created_at, object_id = position
            return datetime.fromisoformat(created_at).astimezone(UTC), object_id
        except (ValueError, OverflowError):
            raise invalid_page_token() from None


def page_by_time(
    found: Sequence[T], query: ListQuery, place: Callable[[T], TimePosition]
) -> tuple[Sequence[T], str | None]:
    """One page of a list by time and id, of which one object more than fits was read, and the token of the next."""
    page = found[: query.page_size]
    if len(found) <= query.page_size:
        return page, None
    created_at, object_id = place(page[-1])
    return page, encode_page_token((created_at.isoformat(), object_id), query.filters())


def encode_page_token(position: tuple[str, ...], filters: Mapping[str, object]) -> str:
    """The token of the page that starts after `position` in the list with these filters."""
    place = orjson.dumps(position)
    return base64.urlsafe_b64encode(_digest(place, filters) + place).rstrip(b"=").decode()


def decode_page_token(token: str, filters: Mapping[str, object]) -> tuple[str, ...]:
    """The position that a token names; raises `INVALID_PAGE_TOKEN` for one that is damaged or of other filters."""
    raw = _unpadded(token)
    place = raw[_DIGEST_BYTES:]
    if raw[:_DIGEST_BYTES] != _digest(place, filters):
        raise invalid_page_token()
    return _strings(place)


def invalid_page_token() -> Problem:
    """For a caller that finds a position which is none in its list."""
    return Problem(
        "INVALID_PAGE_TOKEN", "This page token is damaged, or was made for other filters.", param="page_token"
    )


def _digest(place: bytes, filters: Mapping[str, object]) -> bytes:
    bound = orjson.dumps(filters, option=orjson.OPT_SORT_KEYS, default=str)
    return sha256(b"page.v1\0" + place + b"\0" + bound).digest()[:_DIGEST_BYTES]


def _unpadded(token: str) -> bytes:
    if len(token) > _LONGEST_TOKEN:
        raise invalid_page_token()
    try:
        return base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise invalid_page_token() from None


def _strings(place: bytes) -> tuple[str, ...]:
    try:
        position = orjson.loads(place)
    except orjson.JSONDecodeError:
        raise invalid_page_token() from None
    if not isinstance(position, list) or not all(isinstance(part, str) and "\0" not in part for part in position):
        raise invalid_page_token()
    return tuple(position)
