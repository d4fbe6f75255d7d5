"""One ASGI app for all services in one process: a path's first segments say which service answers."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import orjson
from litestar import Litestar
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.http.edge import edge
from shared.http.metrics import observer
from shared.http.problems import not_found, send_problem
from shared.http.security import security_headers

# Plain ASGI: Litestar and httpx2 both type it more narrowly, each in its own way.
Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

ROUTES = {
    "/v1/orders": "orders",
    "/v1/customers": "orders",
    "/v1/channels": "payments",
    "/v1/channel-events": "payments",
    "/v1/unmatched-money": "payments",
    "/v1/payment-intents": "payments",
    "/v1/orders/*/pay": "payments",
    "/v1/orders/*/payment-intents": "payments",
    "/v1/orders/*/payment-attempts": "payments",
    "/v1/merchants": "apps",
    "/v1/api-keys": "apps",
    "/v1/auth-context": "apps",
    "/v1/audit-log": "apps",
    "/v1/developer": "apps",
    "/v1/oauth": "apps",
    "/v1/staff-users": "apps",
    "/.well-known": "apps",
    "/sign-in": "apps",
    "/sign-out": "apps",
    "/join": "apps",
    "/account": "apps",
    "/v1/events": "apps",
    "/v1/plugin-topic": "apps",
    "/v1/webhook-endpoints": "apps",
    "/v1/webhook-event-types": "apps",
    "/v1/webhook-deliveries": "apps",
    "/sandbox": "sandbox",
}
"""Which service answers a path and everything below it; `*` stands for one segment, of an order's id."""

REFERENCE = ("/docs", "/openapi.json", "/docs-assets", "/problems")
"""What describes the whole API and so belongs to no single service."""

_PROBES = ("/livez", "/readyz")
_PROBE_TIMEOUT_S = 5.0


class Gateway:
    """Serves every service on one port; its lifespan is theirs.

    `/livez` and `/readyz` hold only when they hold for every service. `reference` answers the paths in `REFERENCE`.
    """

    def __init__(self, services: Mapping[str, Litestar], reference: ASGIApp, public_base_url: str) -> None:
        self._services = services
        self._routes: dict[str, ASGIApp] = {path: services[name] for path, name in ROUTES.items() if name in services}
        self._routes |= dict.fromkeys(REFERENCE, reference)
        self._rest = edge(self._answer_ourselves, (security_headers(public_base_url),), observer("gateway"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, or live through one lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif (app := self._service_for(scope["path"])) is not None:
            await app(scope, receive, send)
        elif scope["type"] == "http":
            await self._rest(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4404, "reason": "not found"})

    def _service_for(self, path: str) -> ASGIApp | None:
        segments = path.split("/", 5)
        if len(segments) > 4 and (below := self._routes.get("/".join((*segments[:3], "*", segments[4])))):
            return below
        return self._routes.get("/".join(segments[:3])) or self._routes.get("/".join(segments[:2]))

    async def _answer_ourselves(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in _PROBES:
            well, answers = await self._probe(path)
            body = orjson.dumps({"status": "ok" if well else "failing", "services": answers})
            await _answer(send, 200 if well else 503, b"application/json", body)
        elif path == "/metrics":
            await _answer(send, 200, CONTENT_TYPE_LATEST.encode(), generate_latest())
        elif path == "/":
            await _answer(send, 307, b"text/plain", b"", (b"location", b"/docs"))
        else:
            await send_problem(not_found(), scope, receive, send)

    async def _probe(self, path: str) -> tuple[bool, dict[str, object]]:
        """Ask every service: whether all are well, and what each answered."""
        answers = {name: await _ask(app, path) for name, app in self._services.items()}
        well = all(status == 200 for status, _ in answers.values())
        return well, {name: body for name, (_, body) in answers.items()}

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with AsyncExitStack() as running:
            try:
                for app in self._services.values():
                    await running.enter_async_context(app.lifespan())
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _ask(app: Litestar, path: str) -> tuple[int, object]:
    transport = httpx2.ASGITransport(app=app)  # type: ignore[arg-type]  # plain ASGI, typed twice
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://in-process", timeout=_PROBE_TIMEOUT_S
    ) as client:
        answer = await client.get(path)
    return answer.status_code, orjson.loads(answer.content)


async def _answer(send: Send, status: int, content_type: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    lengths = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*lengths, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
