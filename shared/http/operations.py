"""What the API reference says of an operation, written beside its handler in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.auth.guard import OPEN_AND_COUNTED
from shared.http.bodies import JSON_MEDIA_TYPE, refuse_query

KEY = "operation"


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as a client sees it; see `operation`."""

    takes: Mapping[str, type[BaseModel]]
    """Media type of the body → its model; empty where there is no body."""
    query: type[BaseModel] | None
    gives: type[BaseModel] | None
    listed: bool
    status: int
    problems: tuple[str, ...]
    idempotent: bool
    waits: bool
    postponed: bool
    errors: type[BaseModel] | None = None
    """What 400 and 401 answer where a standard says it; the answer is then not in `data` either."""


def operation(
    summary: str,
    *,
    description: str | None = None,
    takes: type[BaseModel] | Mapping[str, type[BaseModel]] | None = None,
    query: type[BaseModel] | None = None,
    gives: type[BaseModel] | None = None,
    listed: bool = False,
    status: int = 200,
    problems: tuple[str, ...] = (),
    idempotent: bool = False,
    waits: bool = False,
    postponed: bool = False,
    errors: type[BaseModel] | None = None,
    open_to_all: bool = False,
) -> dict[str, Any]:
    """Keyword arguments of a Litestar route decorator: `@post("/orders", **operation("Create an order", …))`.

    `takes` is the body's model (or one for each media type), `query` that of the query string, `gives` what is in
    `data` (`listed`: each of many). `problems` are the codes beside those that every operation may answer with.
    `idempotent` operations take an `Idempotency-Key`; those that `waits` honour `Prefer: wait=N` and may answer 202, as
    may those that can be `postponed`. A query string is refused where there is no `query`. Those with `errors` answer
    as their own standard says; those that are `open_to_all` need no credential.
    """
    bodies = {JSON_MEDIA_TYPE: takes} if isinstance(takes, type) else dict(takes or {})
    described = Operation(bodies, query, gives, listed, status, problems, idempotent, waits, postponed, errors)
    # Each answer carries its own status; Litestar wants a handler that is declared 204 to return None.
    declared = 200 if status == 204 else status
    route: dict[str, Any] = {"summary": summary, "description": description, "status_code": declared}
    opt = {KEY: described} | (OPEN_AND_COUNTED if open_to_all else {})
    return route | {"opt": opt} | ({} if query is not None else {"before_request": refuse_query})
