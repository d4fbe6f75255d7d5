"""What processor time it takes to know a request, count it and let it through, when its credential is in memory.

Needs no servers.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey
from litestar import get
from litestar.connection import ASGIConnection
from litestar.types import ASGIApp

from bench.results import Result
from shared.auth.access import Access, KnownGrant
from shared.auth.grants import GrantsCopy
from shared.auth.guard import authentication, requires
from shared.auth.keys import hash_credential, new_api_key
from shared.auth.tokens import ALGORITHM, GRANT_CLAIM, TYPE, audience_of
from shared.clock import utc_now
from shared.contracts.access import GrantKind
from shared.http.limits import Limiter, limit_headers
from shared.settings import UNLIMITED, KafkaSettings, RateLimits

AIM_US = 50.0
_ISSUER = "http://127.0.0.1:8080"
_REQUESTS = 20_000
_ROUNDS = 7


async def measure(found: Result, _options: argparse.Namespace) -> None:
    """Microseconds for each request: a key and an access token, with and without limits."""
    generous = RateLimits(api_key_per_s=1e6, installation_per_s=1e6, merchant_per_s=1e6)
    for name, limits in (("limited", generous), ("unlimited", UNLIMITED)):
        limiter = Limiter("bench", limits)
        grants = GrantsCopy(KafkaSettings(), "bench")
        for credential, secret in (("key", _key(grants)), ("token", _token(grants))):
            micros = round(await _cost_us(authentication(grants, _ISSUER, limiter), secret), 1)
            found.add(**{f"{credential}_{name}_us": micros})
            print(f"{credential:5} {name:9}: {micros:5.1f} µs (aim: {AIM_US:g})")


async def _cost_us(middleware: Callable[..., ASGIApp], secret: str) -> float:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await guard(ASGIConnection(scope), handler)
        limit_headers(scope, [])

    async def nothing() -> None:
        return None

    guard, app = requires("orders.read"), middleware(answer)
    headers = [(b"host", b"localhost"), (b"accept", b"*/*"), (b"authorization", b"Bearer " + secret.encode())]
    rounds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(_REQUESTS):
            _scope(headers)
            await nothing()
        besides_s = time.process_time() - began
        began = time.process_time()
        for _ in range(_REQUESTS):
            await app(_scope(headers), nothing, nothing)  # type: ignore[arg-type]
        rounds.append((time.process_time() - began - besides_s) / _REQUESTS * 1e6)
    return statistics.median(rounds)


@get("/", sync_to_thread=False)
def handler() -> None:
    """A route that needs a credential."""


def _scope(headers: list[tuple[bytes, bytes]]) -> Any:
    return {
        "type": "http",
        "method": "GET",
        "headers": headers,
        "state": {},
        "client": ("127.0.0.1", 1),
        "route_handler": handler,
    }


def _remember(grants: GrantsCopy, credential_hash: str, kind: GrantKind) -> None:
    access = Access(
        grant_id=credential_hash,
        credential_hash=credential_hash,
        kind=kind,
        merchant_id="mer_1",
        environment="test",
        scopes=frozenset({"orders.read", "payments.write"}),
        api_version="2026-11-01",
    )
    grants._cache.put(credential_hash, KnownGrant(access, active=True), grants._cache.generation)


def _key(grants: GrantsCopy) -> str:
    key = new_api_key("test")
    _remember(grants, hash_credential(key), "api_key")
    return key


def _token(grants: GrantsCopy) -> str:
    signing = ECKey.generate_key("P-256", parameters={"kid": "k1", "alg": ALGORITHM, "use": "sig"})
    grants._keys.put({"k1": signing}, grants._keys.generation)
    _remember(grants, "grt_1", "installation")
    now = utc_now()
    claims = {
        "iss": _ISSUER,
        "aud": audience_of(_ISSUER),
        "sub": "ins_1",
        "client_id": "app_1",
        "jti": "tok_1",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(hours=1)).timestamp()),
        GRANT_CLAIM: "grt_1",
    }
    return jwt.encode({"alg": ALGORITHM, "typ": TYPE, "kid": "k1"}, claims, signing)
