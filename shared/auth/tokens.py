"""Access tokens of installed apps: JWTs (RFC 9068) that name the grant which decides about them.

A signature is checked once for each token and process, at about a tenth of a millisecond; after that a token costs a
hash and a look into memory. Only ES256 with one of our own keys counts, whatever a token says of itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from joserfc.jwt import JWTClaimsRegistry

from shared.auth import table
from shared.auth.cache import LARGEST, KeyCache
from shared.clock import Clock
from shared.contracts.access import PublicKey
from shared.faults import Transient
from shared.postgres import Pool

ALGORITHM = "ES256"
TYPE = "at+jwt"
GRANT_CLAIM = "environment_grant_id"
LONGEST_TOKEN = 4_096
SKEW_S = 10
"""How far the clocks of the machines that sign and verify may be apart."""

Claims = Mapping[str, Any]

_ESSENTIAL = ("exp", "iat", "sub", "jti", "client_id", GRANT_CLAIM)


def audience_of(base_url: str) -> str:
    """Whom access tokens are made for: the API under this address."""
    return f"{base_url}/v1"


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: Claims
    until: float


class AccessTokens:
    """Tells a token of ours from everything else. Raises `Transient` while the keys cannot be known."""

    def __init__(self, keys: KeyCache, pool: Callable[[], Pool], issuer: str, clock: Clock) -> None:
        self._keys, self._pool, self._issuer, self._clock = keys, pool, issuer, clock
        self._verified: dict[bytes, _Verified] = {}
        self._generation = keys.generation

    def remembers(self, token: str) -> bool:
        """Whether the token's signature was checked here before, and was good."""
        return _digest(token) in self._verified

    async def claims_of(self, token: str) -> Claims | None:
        """What the token says; None when it is not ours, not for this API, or over. It counts while its grant does."""
        if len(token) > LONGEST_TOKEN:
            return None
        if self._keys.unsaved:
            raise Transient("database: a change of the signing keys cannot be saved")
        digest = _digest(token)
        keys = self._keys.get() or await self._load()
        if self._generation != self._keys.generation:
            self._verified.clear()
            self._generation = self._keys.generation
        known = self._verified.get(digest)
        if known is None:
            known = _verify(token, keys, self._issuer, int(self._clock().timestamp()))
            if known is None:
                return None
            if self._keys.get() is keys:
                self._keep(digest, known)
        return known.claims if self._clock().timestamp() < known.until else None

    def _keep(self, digest: bytes, verified: _Verified) -> None:
        while len(self._verified) >= LARGEST:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = verified

    async def _load(self) -> Mapping[str, ECKey]:
        generation = self._keys.generation
        keys = {kid: as_key(kid, key) for kid, key in (await table.load_signing_keys(self._pool())).items()}
        self._keys.put(keys, generation)
        return keys


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def as_key(kid: str, public: PublicKey) -> ECKey:
    """The key with which signatures are checked."""
    return ECKey.import_key({**public.model_dump(), "kid": kid, "alg": ALGORITHM, "use": "sig"})


def _verify(token: str, keys: Mapping[str, ECKey], issuer: str, now: int) -> _Verified | None:
    def key_of(signed: Any) -> ECKey:
        return keys[str(signed.headers().get("kid"))]

    required: dict[str, Any] = {name: {"essential": True} for name in _ESSENTIAL}
    required |= {
        "iss": {"essential": True, "value": issuer},
        "aud": {"essential": True, "value": audience_of(issuer)},
    }
    try:
        found = jwt.decode(token, key_of, algorithms=[ALGORITHM])
        JWTClaimsRegistry(now=now, leeway=SKEW_S, **required).validate(found.claims)
    except (JoseError, KeyError, ValueError, TypeError):
        return None
    if found.header.get("typ") != TYPE or not isinstance(found.claims[GRANT_CLAIM], str):
        return None
    return _Verified(found.claims, found.claims["exp"] + SKEW_S)
