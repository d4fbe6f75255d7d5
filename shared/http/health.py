"""Probes: whether the process should live, whether it should get traffic, and its measures.

A liveness check asks for progress, not for other systems: restarting this process does not bring a database back. A
readiness check says whether a request could be answered now.
"""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable

import structlog
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.auth.guard import OPEN
from shared.http.answers import Answer, stored, to_json

Check = Callable[[], Awaitable[str | None] | str | None]
"""None: fine. Text: what is wrong, without secrets, since probes are open."""

CHECK_TIMEOUT_S = 2.0
"""Shorter than the probes' own limits, so that they get an answer with a reason."""

_log = structlog.get_logger(__name__)


class Health:
    """The checks of one process."""

    def __init__(self) -> None:
        self._liveness: dict[str, Check] = {}
        self._readiness: dict[str, Check] = {}

    def add_liveness(self, name: str, check: Check) -> None:
        """From now on the process counts as alive only while `check` finds nothing wrong."""
        self._liveness[name] = check

    def add_readiness(self, name: str, check: Check) -> None:
        """From now on the process gets traffic only while `check` finds nothing wrong."""
        self._readiness[name] = check

    async def liveness(self) -> dict[str, str | None]:
        """What is wrong with each part whose standstill only a restart can end."""
        return await _run(self._liveness)

    async def readiness(self) -> dict[str, str | None]:
        """What is wrong with each part that a request needs."""
        return await _run(self._readiness)


async def _run(checks: dict[str, Check]) -> dict[str, str | None]:
    found = await asyncio.gather(*(_ask(name, check) for name, check in checks.items()))
    return dict(zip(checks, found, strict=True))


async def _ask(name: str, check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            answer = check()
            return await answer if isawaitable(answer) else answer
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    except Exception as error:  # noqa: BLE001 a check that fails is an answer, whatever the reason
        _log.warning("health check failed", check=name, exc_info=error)
        return type(error).__name__


def health_routes(health: Health) -> list[HTTPRouteHandler]:
    """`/livez`, `/readyz` and `/metrics`; open to whoever can reach the port."""

    @get("/livez", opt=OPEN, include_in_schema=False)
    async def livez() -> Response[bytes]:
        return _answer(await health.liveness())

    @get("/readyz", opt=OPEN, include_in_schema=False)
    async def readyz() -> Response[bytes]:
        return _answer(await health.readiness())

    @get("/metrics", opt=OPEN, include_in_schema=False, sync_to_thread=False)
    def metrics() -> Response[bytes]:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [livez, readyz, metrics]


def _answer(checks: dict[str, str | None]) -> Answer:
    well = all(wrong is None for wrong in checks.values())
    shown = {name: "ok" if wrong is None else wrong for name, wrong in checks.items()}
    body = to_json({"status": "ok" if well else "failing", "checks": shown})
    return stored(200 if well else 503, body, {"Cache-Control": "no-store"})
