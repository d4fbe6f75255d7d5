"""Access tokens: what is one of ours, and what only looks like it; and what it costs to know one."""

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from shared.auth.cache import KNOWN_S, KeyCache
from shared.auth.tail import decode, decode_key
from shared.auth.tokens import GRANT_CLAIM, LONGEST_TOKEN, SKEW_S, AccessTokens, as_key
from shared.contracts.access import PublicKey, SigningKey
from shared.faults import Transient

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
ISSUER = "https://api.example"
KID = "sgk_1"
PRIVATE = ECKey.generate_key("P-256", private=True)
PUBLIC = PublicKey(x=str(PRIVATE.as_dict()["x"]), y=str(PRIVATE.as_dict()["y"]))
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": f"{ISSUER}/v1",
    "sub": "ins_1",
    "client_id": "app_1",
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 600,
    "jti": "jti_1",
    "scope": "orders.read",
    GRANT_CLAIM: "grt_1",
}
HEADER = {"typ": "at+jwt", "alg": "ES256", "kid": KID}


class World:
    """One verifier, whose clock and keys a test turns."""

    def __init__(self) -> None:
        self.now = NOW
        self.keys = KeyCache(self._seconds)
        self.tokens = AccessTokens(self.keys, self._no_pool, ISSUER, lambda: self.now)
        self.know(KID)

    def know(self, *kids: str) -> None:
        self.keys.put({kid: as_key(kid, PUBLIC) for kid in kids}, self.keys.generation)

    async def grant_of(self, token: str) -> str | None:
        claims = await self.tokens.claims_of(token)
        return None if claims is None else claims[GRANT_CLAIM]

    def _seconds(self) -> float:
        return self.now.timestamp()

    @staticmethod
    def _no_pool() -> Any:
        raise Transient("database: away")


def token(key: ECKey = PRIVATE, header: dict[str, Any] | None = None, **claims: Any) -> str:
    said = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    return jwt.encode(HEADER | (header or {}), said, key, algorithms=["ES256"])


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_token_of_ours_names_its_grant() -> None:
    assert await World().grant_of(token()) == "grt_1"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(NOW.timestamp()) - SKEW_S - 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"aud": "https://other.example/v1"},
        {"aud": ISSUER},
        {"aud": None},
        {"iss": "https://other.example"},
        {"iss": None},
        {"iat": int(NOW.timestamp()) + SKEW_S + 60},
        {"nbf": int(NOW.timestamp()) + SKEW_S + 60},
        {"client_id": None},
        {"sub": None},
        {"jti": None},
        {GRANT_CLAIM: None},
        {GRANT_CLAIM: ["grt_1"]},
    ],
)
async def test_what_it_says_must_be_right(claims: dict[str, Any]) -> None:
    assert await World().grant_of(token(**claims)) is None


@pytest.mark.parametrize(
    "header",
    [{"typ": "JWT"}, {"typ": "dpop+jwt"}, {"kid": "sgk_2"}, {"kid": ""}, {"crit": ["b64"], "b64": False}],
)
async def test_its_header_must_be_right(header: dict[str, Any]) -> None:
    head, body, signature = token().split(".")
    resigned = ".".join([part(HEADER | header), body])
    signed = _sign(resigned)
    assert await World().grant_of(f"{resigned}.{signed}") is None
    assert await World().grant_of(f"{part(HEADER | header)}.{body}.{signature}") is None
    assert head


def _sign(text: str) -> str:
    """A right signature, whatever the header says: joserfc would not make some of them."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = PRIVATE.get_op_key("sign")
    r, s = utils.decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=").decode()


async def test_a_signature_made_by_hand_is_right_where_the_header_is() -> None:
    """Or the test above would show nothing."""
    text = f"{part(HEADER)}.{part(CLAIMS)}"
    assert await World().grant_of(f"{text}.{_sign(text)}") == "grt_1"


async def test_no_algorithm_is_none() -> None:
    for name in ("none", "None", "NONE", ""):
        head, body = part(HEADER | {"alg": name}), part(CLAIMS)
        for signature in ("", token().split(".")[2]):
            assert await World().grant_of(f"{head}.{body}.{signature}") is None


async def test_the_public_key_is_no_secret_to_sign_with() -> None:
    """HS256 keyed by what everybody can read: the public key as JWK, as its point, as PEM."""
    public = ECKey.import_key({**PUBLIC.model_dump()})
    secrets = [json.dumps(PUBLIC.model_dump()).encode(), PUBLIC.x.encode(), public.as_pem(private=False)]
    text = f"{part(HEADER | {'alg': 'HS256'})}.{part(CLAIMS)}"
    for secret in secrets:
        signature = base64.urlsafe_b64encode(hmac.digest(secret, text.encode(), "sha256")).rstrip(b"=").decode()
        assert await World().grant_of(f"{text}.{signature}") is None


async def test_another_key_with_our_name_is_not_ours() -> None:
    stranger = ECKey.generate_key("P-256", private=True)
    assert await World().grant_of(token(stranger)) is None
    # The key within the header is the sender's word for itself.
    assert await World().grant_of(token(stranger, {"jwk": stranger.as_dict(private=False)})) is None


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "eyJ", "é.b.c", "\ud800", token() + ".x", token()[:-4], "x" * (LONGEST_TOKEN + 1)]
)
async def test_what_is_no_token_is_none(text: str) -> None:
    assert await World().grant_of(text) is None


async def test_a_known_token_ends_all_the_same() -> None:
    world, known = World(), token()
    assert await world.grant_of(known) == "grt_1"
    world.now = NOW + timedelta(seconds=KNOWN_S - 1)
    assert await world.grant_of(known) == "grt_1"
    world.now = NOW + timedelta(seconds=600 + SKEW_S)
    world.know(KID)
    assert await world.grant_of(known) is None


async def test_what_a_retired_key_signed_counts_no_longer() -> None:
    world, known = World(), token()
    assert await world.grant_of(known) == "grt_1"
    world.keys.drop()
    world.know("sgk_2")
    assert await world.grant_of(known) is None


async def test_keys_that_differ_when_read_again_count_as_changed() -> None:
    world, known = World(), token()
    assert await world.grant_of(known) == "grt_1"
    world.now = NOW + timedelta(seconds=KNOWN_S + 1)
    world.know("sgk_2")
    assert await world.grant_of(known) is None


async def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    world = World()
    before = world.keys.generation
    world.keys.drop()
    world.keys.put({KID: as_key(KID, PUBLIC)}, before)
    assert world.keys.get() is None


async def test_without_keys_nobody_can_say() -> None:
    world = World()
    world.keys.drop()
    with pytest.raises(Transient):
        await world.grant_of(token())
    world.know(KID)
    world.keys.unsaved = True
    with pytest.raises(Transient):
        await world.grant_of(token())


async def test_a_warm_token_costs_no_more_than_fifty_microseconds() -> None:
    world, known = World(), token()
    await world.grant_of(known)
    best = min([await _seconds(world, known) for _ in range(20)])
    print(f"a known token: {best * 1e6:.1f} µs")
    assert best < 50e-6


async def _seconds(world: World, known: str, times: int = 200) -> float:
    started = perf_counter()
    for _ in range(times):
        await world.tokens.claims_of(known)
    return (perf_counter() - started) / times


KEY = SigningKey(kid=KID, public_jwk=PUBLIC)
VALUE = KEY.model_dump_json().encode()


def test_a_record_is_a_signing_key() -> None:
    record = decode_key(KID.encode(), VALUE, 0, 7)
    assert record is not None
    assert (record.key, record.offset) == (KEY, 7)
    assert decode(KID.encode(), VALUE, 0, 7) is None


@pytest.mark.parametrize(
    ("key", "value"), [(None, VALUE), (b"sgk_2", VALUE), (KID.encode(), b"{}"), (KID.encode(), None)]
)
def test_anything_else_is_no_signing_key(key: bytes | None, value: bytes | None) -> None:
    assert decode_key(key, value, 0, 7) is None
