"""What the API reference says of an operation, written beside its handler in one place."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

KEY = "operation"


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as a client sees it; see `operation`."""

    takes: type[BaseModel] | None
    query: type[BaseModel] | None
    gives: type[BaseModel] | None
    listed: bool
    status: int
    problems: tuple[str, ...]
    idempotent: bool
    waits: bool


def operation(
    summary: str,
    *,
    description: str | None = None,
    takes: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    gives: type[BaseModel] | None = None,
    listed: bool = False,
    status: int = 200,
    problems: tuple[str, ...] = (),
    idempotent: bool = False,
    waits: bool = False,
) -> dict[str, Any]:
    """Keyword arguments of a Litestar route decorator: `@post("/orders", **operation("Create an order", …))`.

    `takes` is the body's model, `query` that of the query string, `gives` what is in `data` (`listed`: each of many).
    `problems` are the codes beside those that every operation may answer with. `idempotent` operations take an
    `Idempotency-Key`; those that `waits` honour `Prefer: wait=N` and may answer 202.
    """
    described = Operation(takes, query, gives, listed, status, problems, idempotent, waits)
    # Each answer carries its own status; Litestar wants a handler that is declared 204 to return None.
    declared = 200 if status == 204 else status
    return {"summary": summary, "description": description, "status_code": declared, "opt": {KEY: described}}
