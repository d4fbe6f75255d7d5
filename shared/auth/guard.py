"""Who is asking (authentication), and whether they may (guards of routes).

Every route needs a credential unless its handler is marked `opt=OPEN`.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth.access import Access
from shared.auth.grants import GrantsCopy
from shared.auth.keys import hash_credential, looks_like_key
from shared.auth.tokens import GRANT_CLAIM, LONGEST_TOKEN, AccessTokens
from shared.http.edge import RawHeader
from shared.http.limits import Limiter
from shared.http.problems import Problem
from shared.http.requests import API_VERSIONS, VERSION_HEADER, Connection, asked_version

OPEN: dict[str, Any] = {"open": True}
"""For `opt=` of a handler that needs no credential."""
OPEN_AND_COUNTED: dict[str, Any] = OPEN | {"counted": True}
"""For one whose callers prove in another way who they are: who fails at it too often is refused, as elsewhere."""
_FAILED = (400, 401)
"""What those are told who fail (RFC 6749: a client, and a code or a token)."""
_LIMITER = "limiter"

ApiRequest = Request[Access, str, State]
"""A request whose `user` is known."""

_LONGEST_HEADER = len("Bearer ") + LONGEST_TOKEN
_VERSION_HEADER = VERSION_HEADER.lower().encode()
_NEWEST = API_VERSIONS[-1]


def unauthenticated() -> Problem:
    """One answer for a missing, malformed, unknown, revoked or expired credential: it must not say which."""
    detail = "Send a valid credential as `Authorization: Bearer <key or token>`."
    return Problem("UNAUTHENTICATED", detail, headers={"WWW-Authenticate": "Bearer"})


def authentication(grants: GrantsCopy, issuer: str, limiter: Limiter) -> Callable[..., ASGIApp]:
    """Middleware that sets `request.user` to the caller's `Access`, and the version that answers are in.

    Access tokens are the issuer's. Who asks too often is told so by the limiter.
    """
    callers = _Callers(grants, grants.access_tokens(issuer), limiter)

    def middleware(app: ASGIApp) -> ASGIApp:
        async def authenticate(scope: Scope, receive: Receive, send: Send) -> None:
            if not _is_open(scope):
                connection: Connection = ASGIConnection(scope)
                access = await callers.caller(scope)
                scope["user"] = access
                scope["auth"] = access.credential_hash
                limiter.admit(scope, access)
                scope["state"]["api_version"] = await _version(grants, access, connection)
            elif scope.get("method") != "OPTIONS" and scope["route_handler"].opt.get("counted"):
                limiter.refuse_guessing(scope)
                scope["state"][_LIMITER] = limiter
                send = _counting_failures(limiter, scope, send)
            await app(scope, receive, send)

        return authenticate

    return middleware


def admit_client(scope: Scope, client_id: str) -> None:
    """At a route that is `OPEN_AND_COUNTED`: the request of an app that has proved who it is counts.

    Raises when the app has none left.
    """
    limiter: Limiter = scope["state"][_LIMITER]
    limiter.admit_client(scope, client_id)


def _counting_failures(limiter: Limiter, scope: Scope, send: Send) -> Send:
    async def counting(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in _FAILED:
            # The answer is made: the next one will be refused.
            with suppress(Problem):
                limiter.count_stranger(scope)
        await send(message)

    return counting


def version_header(scope: Scope, _headers: list[RawHeader]) -> tuple[RawHeader, ...]:
    """Says which version the answer is in."""
    return ((_VERSION_HEADER, str(scope.get("state", {}).get("api_version", _NEWEST)).encode()),)


@dataclass(frozen=True, slots=True)
class Requires:
    """A guard: the caller belongs to a merchant and has every one of these scopes, or is the platform where it may.

    `live` is for what counts in both environments: a test key cannot change it.
    """

    scopes: tuple[str, ...]
    platform: bool = False
    live: bool = False

    # Async although it waits for nothing: a guard that is not would be called in a thread.
    async def __call__(self, connection: ASGIConnection[Any, Access, str, State], handler: BaseRouteHandler) -> None:
        access = connection.user
        if access.merchant_id is None:
            if self.platform:
                return
            raise Problem("NOT_ALLOWED", "A platform credential belongs to no merchant, so it sees none's objects.")
        missing = [scope for scope in self.scopes if not access.has(scope)]
        if missing:
            detail = f"The credential lacks: {', '.join(missing)}."
            raise Problem("INSUFFICIENT_SCOPE", detail, facts={"missing_scopes": missing})
        if self.live and access.environment != "live":
            raise Problem("NOT_ALLOWED", "This counts in live too, so it takes a live key.")


def requires(*scopes: str, platform: bool = False, live: bool = False) -> Requires:
    """The guard of a merchant's route: `guards=[requires("orders.read")]`; with `platform` also for a platform key,
    with `live` for no test key."""
    return Requires(scopes, platform, live)


async def platform_only(connection: ASGIConnection[Any, Access, str, State], _: BaseRouteHandler) -> None:
    """The guard of the few routes that stand above merchants."""
    if connection.user.kind != "platform":
        raise Problem("NOT_ALLOWED", "Only a platform credential may do that.")


def _is_open(scope: Scope) -> bool:
    return scope.get("method") == "OPTIONS" or bool(scope["route_handler"].opt.get("open"))


@dataclass(frozen=True, slots=True)
class _Callers:
    """Who sent a request. What this process does not know by heart is looked up only for those who seldom guess."""

    grants: GrantsCopy
    tokens: AccessTokens
    limiter: Limiter

    async def caller(self, scope: Scope) -> Access:
        """What the credential may do; raises the one problem of all that are none, and counts it."""
        secret = bearer(scope["headers"])
        access = None
        if secret is not None:
            access = await (self._of_key(scope, secret) if looks_like_key(secret) else self._of_token(scope, secret))
        if access is None:
            self.limiter.count_stranger(scope)
            raise unauthenticated()
        self.grants.uses.note(access.grant_id)
        return access

    async def _of_key(self, scope: Scope, key: str) -> Access | None:
        return await self._of_grant(scope, hash_credential(key))

    async def _of_token(self, scope: Scope, token: str) -> Access | None:
        if not self.tokens.remembers(token):
            self.limiter.refuse_guessing(scope)
        claims = await self.tokens.claims_of(token)
        access = None if claims is None else await self._of_grant(scope, claims[GRANT_CLAIM])
        # A token speaks for an installation and for nobody else.
        return access if access is not None and access.kind == "installation" else None

    async def _of_grant(self, scope: Scope, credential_hash: str) -> Access | None:
        if not self.grants.remembers(credential_hash):
            self.limiter.refuse_guessing(scope)
        return await self.grants.find(credential_hash)


def bearer(headers: Iterable[RawHeader]) -> str | None:
    """The credential in the one `Authorization: Bearer …` of a request (RFC 6750); None when there is no such one.

    Of two headers, whoever stands between may have read the other one: such a request has none.
    """
    given = [value for name, value in headers if name == b"authorization"]
    if len(given) != 1 or len(given[0]) > _LONGEST_HEADER:
        return None
    scheme, _, secret = given[0].partition(b" ")
    return secret.strip(b" ").decode("latin-1") if scheme.lower() == b"bearer" else None


async def _version(grants: GrantsCopy, access: Access, connection: Connection) -> str:
    asked = asked_version(connection)
    if access.api_version is None:
        await grants.pin_version(access, asked or _NEWEST)
    return asked or access.api_version or _NEWEST
