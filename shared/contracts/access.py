"""Who may do what, and by which keys tokens are known, on the compacted topic `access.grants`; when credentials were
used, on `access.used`."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from shared.contracts.model import Identifier, Message, Part, Timestamp

GRANT_V1 = "access.grant.v1"
SIGNING_KEY_V1 = "access.signing_key.v1"

MOST_USES = 5_000
"""In one message, which then has about 300 KB."""

Scope = Annotated[str, StringConstraints(pattern=r"^[a-z]+\.(read|write)$")]
Environment = Literal["test", "live"]
GrantKind = Literal["api_key", "installation", "platform"]

LONGEST_ORIGIN = 300
"""Characters: a scheme, a host name of at most 253, a port."""


def _origin(text: str) -> str:
    if len(text) > LONGEST_ORIGIN or not text.isprintable():
        raise ValueError(f"must be printable and have at most {LONGEST_ORIGIN} characters")
    return text


Origin = Annotated[str, AfterValidator(_origin)]

SCOPES: tuple[str, ...] = tuple(
    f"{noun}.{verb}"
    for noun in (
        "orders",
        "payments",
        "refunds",
        "devices",
        "checkouts",
        "invoices",
        "customers",
        "subscriptions",
        "webhooks",
        "apps",
    )
    for verb in ("read", "write")
) + ("keys.write", "reports.read")


class Grant(Message):
    """What the holder of one credential may do. The newest message for a key wins; revoked ones stay as such.

    The message key is `credential_hash`: the lower-case hex SHA-256 of an API key, or an installation's environment
    grant id, which its access tokens name.
    `platform` grants belong to no merchant and may create merchants.
    """

    wire_type: ClassVar[str] = GRANT_V1

    grant_id: Identifier
    credential_hash: Annotated[str, StringConstraints(min_length=8, max_length=128)]
    kind: GrantKind
    merchant_id: Identifier | None
    environment: Environment
    scopes: tuple[Scope, ...] = ()
    status: Literal["active", "revoked"] = "active"
    name: str = Field(default="", max_length=200)
    expires_at: Timestamp | None = None
    allowed_origins: tuple[Origin, ...] = ()
    """Browser origins that may call with this credential (CORS)."""


class CredentialsUsed(Message):
    """When credentials were used last, as one process of a service saw it in about the last minute."""

    wire_type: ClassVar[str] = "access.credentials_used.v1"

    uses: Annotated[dict[Identifier, Timestamp], Field(max_length=MOST_USES)]
    """Grant id → when."""


Coordinate = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]


class PublicKey(Part):
    """A JSON Web Key (RFC 7517) on the curve P-256."""

    kty: Literal["EC"] = "EC"
    crv: Literal["P-256"] = "P-256"
    x: Coordinate
    y: Coordinate


class SigningKey(Message):
    """The public half of a key that signs access tokens. The message key is `kid`; the newest message for it wins.

    What a retired key signed is accepted no longer.
    """

    wire_type: ClassVar[str] = SIGNING_KEY_V1

    kid: Identifier
    algorithm: Literal["ES256"] = "ES256"
    public_jwk: PublicKey
    status: Literal["active", "retired"] = "active"
