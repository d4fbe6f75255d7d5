"""Headers that keep browsers from doing harm, and which browser origins may call (CORS).

An origin may call when the merchant listed it on the credential. A preflight carries no credential, so it passes where
any active grant lists the origin; the answer itself is shown to the page only if the calling credential lists it.
"""

from collections.abc import Awaitable, Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from shared.faults import Transient
from shared.http.edge import HeaderMaker, RawHeader
from shared.http.limits import Limiter
from shared.http.problems import Problem, problem_for_exception, send_problem

API_POLICY = b"default-src 'none'; frame-ancestors 'none'"
"""The content policy of everything that is not a page; pages set their own."""

OriginIsListed = Callable[[str], Awaitable[bool]]

_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# Two years, as the preload lists of browsers ask for.
_HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
_EXPOSED = b"X-Request-Id, Throughline-Version, Idempotent-Replayed, Retry-After, RateLimit, RateLimit-Policy"
_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, HEAD, POST, PATCH, PUT, DELETE"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, Idempotency-Key, Prefer, Throughline-Version, X-Request-Id, Last-Event-ID",
    ),
    (b"access-control-max-age", b"600"),
]
_VARY = (b"vary", b"Origin")


def security_headers(public_base_url: str) -> HeaderMaker:
    """Headers of every answer; HSTS only where clients reach the service by https."""
    fixed = (*_ALWAYS, _HSTS) if public_base_url.startswith("https://") else _ALWAYS

    def make(scope: Scope, headers: list[RawHeader]) -> tuple[RawHeader, ...]:
        present = {name.lower() for name, _ in headers}
        policy = () if b"content-security-policy" in present else ((b"content-security-policy", API_POLICY),)
        return tuple(header for header in (*fixed, *policy) if header[0] not in present)

    return make


def cors_headers(scope: Scope, headers: list[RawHeader]) -> tuple[RawHeader, ...]:
    """What lets the page at this origin read the answer, if the calling credential lists the origin."""
    origin = _header(scope, b"origin")
    access = scope.get("user")
    if origin is None or access is None or origin.decode("latin-1") not in access.allowed_origins:
        return (_VARY,)
    return (
        _VARY,
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        # The default of `same-origin` would hide the answer from a page that was just allowed to read it.
        (b"cross-origin-resource-policy", b"cross-origin"),
    )


def with_preflight(app: ASGIApp, origin_is_listed: OriginIsListed, limiter: Limiter) -> ASGIApp:
    """Answers CORS preflights; an origin that nobody listed gets an answer without permission, a few times."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope, b"origin")
        asked = _header(scope, b"access-control-request-method")
        if scope["type"] != ScopeType.HTTP or scope["method"] != "OPTIONS" or origin is None or asked is None:
            await app(scope, receive, send)
            return
        try:
            limiter.refuse_guessing(scope)
            listed = await origin_is_listed(origin.decode("latin-1"))
            if not listed:
                limiter.count_stranger(scope)
        except (Problem, Transient) as reason:
            await send_problem(problem_for_exception(reason), scope, receive, send)
            return
        allow = [(b"access-control-allow-origin", origin), *_PREFLIGHT] if listed else []
        headers = [*allow, (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return answer


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)
