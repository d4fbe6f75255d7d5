"""An OpenID provider for tests, on this machine: well behaved unless it is told otherwise."""

import base64
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import orjson
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from services.apps.core.authorization import challenge_of
from tests.receiver import Received, answer, receiving

CLIENT_ID, CLIENT_SECRET = "throughline-tests", "a secret/with+signs: of the client"
Json = dict[str, Any]


@dataclass
class Provider:
    """Whoever comes to it is signed in already, as `person`."""

    issuer: str = ""
    person: Json = field(default_factory=dict)
    """The claims of whoever comes."""
    token: Json = field(default_factory=dict)
    """Claims of ID tokens that are other than they should be."""
    key: RSAKey | ECKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}, private=True))
    """The one that it publishes."""
    alg: str = "RS256"
    kid: str = "one"
    signing_key: Any = None
    """What it signs with, if not with its own."""
    discovery: Json = field(default_factory=dict)
    """What discovery says otherwise."""
    answers: Json = field(default_factory=dict)
    """What it sends browsers back with otherwise; without those that are `None`."""
    down: set[str] = field(default_factory=set)
    """Paths that answer 502."""
    asked: list[str] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def behave(self) -> None:
        """As if it had just been made; its keys stay."""
        for name in ("person", "token", "discovery", "answers"):
            setattr(self, name, {})
        self.key, self.alg, self.kid, self.signing_key = self._first_key, "RS256", "one", None
        self.down, self.asked = set(), []

    def __post_init__(self) -> None:
        self._first_key = self.key

    async def serve(self, request: Received) -> bytes:
        """The answer to one request."""
        url = urlsplit(request.path)
        self.asked.append(url.path)
        if url.path in self.down:
            return answer(502, b"<h1>Bad gateway</h1>")
        match url.path:
            case "/.well-known/openid-configuration":
                return _json(self._metadata() | self.discovery)
            case "/jwks":
                return _json(dict(KeySet([self.key]).as_dict(private=False)))
            case "/authorize":
                return answer(303, b"", Location=self._authorized(url.query))
            case "/token":
                return self._token(request)
        return answer(404, b"")

    def _metadata(self) -> Json:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "authorization_response_iss_parameter_supported": True,
        }

    def _authorized(self, query: str) -> str:
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        assert asked["client_id"] == CLIENT_ID
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(24)
        self._codes[code] = asked
        back = {"code": code, "state": asked["state"], "iss": self.issuer} | self.answers
        return f"{asked['redirect_uri']}?{urlencode({name: text for name, text in back.items() if text is not None})}"

    def _token(self, request: Received) -> bytes:
        given = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if self._client(request, given) != (CLIENT_ID, CLIENT_SECRET):
            return _json({"error": "invalid_client"}, 401)
        asked = self._codes.pop(given["code"], None)
        fits = asked is not None and asked["redirect_uri"] == given["redirect_uri"]
        if asked is None or not fits or challenge_of(given["code_verifier"]) != asked["code_challenge"]:
            return _json({"error": "invalid_grant"}, 400)
        return _json({"token_type": "Bearer", "access_token": "opaque", "id_token": self._signed(asked["nonce"])})

    def _client(self, request: Received, given: dict[str, str]) -> tuple[str, str]:
        if "authorization" not in request.headers:
            return given["client_id"], given["client_secret"]
        pair = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        name, _, secret = pair.partition(":")
        return unquote(name), unquote(secret)

    def _signed(self, nonce: str) -> str:
        now = int(time.time())
        right = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        claims = {name: claim for name, claim in (right | self.person | self.token).items() if claim is not None}
        if self.alg in ("none", "HS256"):
            return self._forged(claims)
        return jwt.encode(
            {"alg": self.alg, "kid": self.kid}, claims, self.signing_key or self.key, algorithms=[self.alg]
        )

    def _forged(self, claims: Json) -> str:
        """Not signed, or with what everybody knows as if it were a secret: our JOSE library would sign neither."""
        header = {"alg": self.alg, "kid": self.kid, "typ": "JWT"}
        signed = f"{_part(orjson.dumps(header))}.{_part(orjson.dumps(claims))}"
        mac = hmac.digest(self.key.as_pem(private=False), signed.encode(), "sha256")
        return f"{signed}.{'' if self.alg == 'none' else _part(mac)}"


def _part(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(body: Json, status: int = 200) -> bytes:
    return answer(status, orjson.dumps(body), Content_Type="application/json")


@asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    """A provider on a free port."""
    provider = Provider()
    async with receiving(provider.serve) as server:
        provider.issuer = server.url("")
        yield provider
