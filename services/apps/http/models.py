"""What clients send and get about merchants, API keys and the audit log."""

from datetime import datetime
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints

from services.apps.core.keys import KeyStatus
from services.apps.core.merchants import MerchantStatus
from services.apps.http import examples
from services.apps.http.shown_once import ShowsSecret
from shared.contracts.access import LONGEST_ORIGIN, SCOPES, Environment, GrantKind
from shared.contracts.model import (
    Actor,
    Clean,
    Identifier,
    JsonObject,
    Metadata,
    MetadataPatch,
    Text,
    Timestamp,
)
from shared.http.answers import AnswerModel
from shared.http.bodies import Currency, RequestModel, shown
from shared.http.pages import ListQuery, QueryTime

MOST_METADATA = 50
_MOST_ORIGINS = 20
DEFAULT_OVERLAP_S = 24 * 60 * 60
LONGEST_OVERLAP_S = 7 * DEFAULT_OVERLAP_S


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


_KEPT_UNLESS_GIVEN = Field(json_schema_extra=_without_default)
"""For a field of a patch that cannot be cleared: what it says by default is never looked at."""

QueryText = Annotated[str, Field(min_length=1, max_length=200), Clean]
_time_zones = cache(available_timezones)


def _time_zone(name: str) -> str:
    if name not in _time_zones():
        raise ValueError("must be a name of the IANA time zone database, such as Europe/Berlin")
    return name


def _scope(name: str) -> str:
    if name not in SCOPES:
        raise ValueError(f"must be one of: {', '.join(SCOPES)}")
    return name


Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_time_zone)]
WebOrigin = Annotated[
    str,
    StringConstraints(max_length=LONGEST_ORIGIN, pattern=r"^https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$"),
]
KnownScope = Annotated[str, AfterValidator(_scope), Field(json_schema_extra={"enum": list(SCOPES)})]


class MerchantRequest(RequestModel):
    model_config = shown(examples.NEW_MERCHANT)

    name: Text
    country: Country | None = None
    """ISO 3166-1, two letters."""
    default_currency: Currency | None = None
    time_zone: TimeZone | None = None
    """A name of the IANA time zone database."""
    metadata: Annotated[Metadata, Field(max_length=MOST_METADATA)] = {}


class MerchantPatch(RequestModel):
    """Only the fields that are given change; `null` clears one. Metadata merges by key."""

    model_config = shown({"status": "suspended"})

    name: Annotated[Text, _KEPT_UNLESS_GIVEN] = ""
    status: Annotated[MerchantStatus, _KEPT_UNLESS_GIVEN] = "active"
    """While a merchant is `suspended` none of its credentials is accepted; `closed` is that for good."""
    country: Country | None = None
    default_currency: Currency | None = None
    time_zone: TimeZone | None = None
    metadata: MetadataPatch | None = None
    expected_version: int | None = None


class MerchantsQuery(ListQuery):
    status: MerchantStatus | None = None


class EnvironmentView(AnswerModel):
    environment_id: str
    environment: Environment


class MerchantView(AnswerModel):
    """Who sells. Its two environments share nothing: no keys, no orders, no numbers."""

    model_config = shown(examples.MERCHANT)

    merchant_id: str
    name: str
    status: MerchantStatus
    country: str | None
    default_currency: str | None
    time_zone: str | None
    metadata: Metadata
    environments: list[EnvironmentView]
    version: int
    created_at: datetime
    updated_at: datetime


class ApiKeyRequest(RequestModel):
    model_config = shown(examples.NEW_API_KEY)

    name: Text
    scopes: Annotated[list[KnownScope], Field(min_length=1, max_length=len(SCOPES))]
    """What the key may do: no more than the key that makes it. Writing includes reading."""
    expires_at: Timestamp | None = None
    """When it ends. Left out, it ends with the key that makes it, which mostly is never."""
    allowed_origins: Annotated[list[WebOrigin], Field(max_length=_MOST_ORIGINS)] = []
    """Browser origins whose pages may call with the key (CORS), as `https://shop.example`."""
    merchant_id: Identifier | None = None
    """For a platform key, which makes a merchant's first keys, and for no other."""
    environment: Environment | None = None
    """For a platform key, and for no other: a merchant's key makes keys of its own environment."""


class RotateRequest(RequestModel):
    model_config = shown({"overlap_s": 3600})

    overlap_s: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_S)] = DEFAULT_OVERLAP_S
    """Seconds for which earlier secrets are still accepted: a day unless said, a week at most."""


class ApiKeysQuery(ListQuery):
    merchant_id: QueryText | None = None
    """For a platform key, which otherwise sees every merchant's keys and its own."""
    environment: Environment | None = None
    """For a platform key."""


class ApiKeyView(AnswerModel):
    """A key without its secret."""

    model_config = shown(examples.API_KEY)

    api_key_id: str
    merchant_id: str | None
    """`null` for a platform key."""
    environment: Environment | None
    name: str
    scopes: list[str]
    allowed_origins: list[str]
    status: KeyStatus
    prefix: str | None
    """How the newest secret begins; `null` for the platform key that the installation began with."""
    created_at: datetime
    expires_at: datetime | None
    overlap_ends_at: datetime | None
    """Until when the secrets before the newest are accepted."""
    last_used_at: datetime | None
    """To the minute, and a minute or two late."""


class NewApiKeyView(ApiKeyView, ShowsSecret):
    """A key with the secret that was just made for it."""

    model_config = shown(examples.NEW_SECRET)


class AuditQuery(ListQuery):
    """Filters of the list; all that are given must match."""

    actor_id: QueryText | None = None
    action: QueryText | None = None
    target_id: QueryText | None = None
    created_from: QueryTime | None = None
    """The earliest `created_at`."""
    created_before: QueryTime | None = None
    """`created_at` is earlier than this."""
    merchant_id: QueryText | None = None
    """For a platform key, which otherwise sees every entry."""
    environment: Environment | None = None
    """For a platform key."""


class AuditEntryView(AnswerModel):
    """One administrative act."""

    model_config = shown(examples.AUDIT_ENTRY)

    audit_entry_id: str
    created_at: datetime
    actor: Actor
    action: str
    """What it is about and what was done to it."""
    target_id: str
    merchant_id: str | None
    environment: Environment | None
    """`null` where it concerns both."""
    request_id: str | None
    changes: JsonObject
    """The fields that it changed, each with what it was (`from`) and what it became (`to`); never a secret."""


class AuthContextView(AnswerModel):
    """What the credential of this request is, and what it may do."""

    model_config = shown(examples.AUTH_CONTEXT)

    kind: GrantKind
    grant_id: str
    """The API key's id, or the environment grant's."""
    merchant_id: str | None
    """`null` for a platform key, which belongs to no merchant."""
    environment: Environment | None
    scopes: list[str]
    """Writing includes reading."""
    expires_at: datetime | None
    api_version: str
    """What this request is answered in: pinned at the credential's first use, unless the request asks for another."""
