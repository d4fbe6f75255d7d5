"""Answers with a secret that is shown once: never stored, so never in a replayed answer (decision 13)."""

from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeVar

from services.apps.http.wiring import Wiring
from shared.auth.guard import ApiRequest
from shared.http.answers import Answer, AnswerModel, one, one_bytes
from shared.idempotency import idempotency_key, run_idempotent
from shared.postgres import Connection


class ShowsOnce(AnswerModel):
    """An object of which one field is in its first answer only."""

    shown_once: ClassVar[str]


class ShowsSecret(ShowsOnce):
    """An object with the secret that was just made for it."""

    shown_once = "secret"

    secret: str | None
    """Shown once, when it is made, and kept nowhere: `null` in every other answer, also in a replayed one."""


M = TypeVar("M", bound=ShowsOnce)


async def answer_once(
    request: ApiRequest, wiring: Wiring, status: int, effect: Callable[[Connection], Awaitable[M]]
) -> Answer:
    """What `effect` made, with its secret; the same request again gets that answer without the secret.

    When `effect` raises, nothing is saved and the idempotency key stays unused.
    """
    made: M | None = None

    async def kept(connection: Connection) -> tuple[int, bytes]:
        nonlocal made
        made = await effect(connection)
        return status, one_bytes(request, made.model_copy(update={made.shown_once: None}))

    key = await idempotency_key(request, request.user)
    answer = await run_idempotent(wiring.pool, key, wiring.clock(), kept)
    if made is None:
        return answer
    wiring.committed()
    return one(request, made, status)
