"""Grants: who may do what, on the compacted topic `access.grants`; and when they were used, on `access.used`."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from shared.contracts.model import Identifier, Message, Timestamp

GRANT_V1 = "access.grant.v1"

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

    The message key is `credential_hash`: the lower-case hex SHA-256 of an API key, or an installation's id.
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
