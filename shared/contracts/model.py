"""What every message model has in common, and the small types that messages share."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from shared.money import exponent

_FIRST_YEAR, _LAST_YEAR = 1970, 2999
MAX_MINOR = 999_999_999_999
"""Largest single amount, in minor units. Sums of any number of them that an order can hold stay below 2**53, so that
every JSON reader keeps them exact."""


def _clean(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode: it holds a lone surrogate") from None
    return text


Clean = AfterValidator(_clean)
Text = Annotated[str, StringConstraints(min_length=1, max_length=500), Clean]
LongText = Annotated[str, StringConstraints(min_length=1, max_length=5_000), Clean]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z]+_[A-Za-z0-9_-]{1,64}$")]
"""Type prefix, underscore, and usually a ULID; a few are chosen by hand (`chn_web`)."""
Reference = Annotated[str, StringConstraints(min_length=1, max_length=200), Clean]
"""An identifier that another system gave: `psp-77`, `web-8812`."""


def _active(code: str) -> str:
    exponent(code)
    return code


Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), AfterValidator(_active)]
"""An active ISO 4217 code."""
AmountMinor = Annotated[int, Field(strict=True, ge=0, le=MAX_MINOR)]
PositiveMinor = Annotated[int, Field(strict=True, ge=1, le=MAX_MINOR)]


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC; one without a zone, or that UTC's calendar does not have, is refused."""
    if moment.tzinfo is None:
        raise ValueError("needs a time zone, such as Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before the year 1 or after the year 9999") from None


Timestamp = Annotated[AwareDatetime, AfterValidator(in_utc)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=60), Clean]
MetadataValue = Annotated[str, StringConstraints(max_length=500), Clean]
Metadata = dict[MetadataKey, MetadataValue]
MetadataPatch = dict[MetadataKey, MetadataValue | None]


def of_our_time(moment: datetime) -> datetime:
    """The moment, where something can have happened then; databases and clients cannot keep every time that a text can
    say."""
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"must lie between the years {_FIRST_YEAR} and {_LAST_YEAR}")
    return moment


RecordedAt = Annotated[Timestamp, AfterValidator(of_our_time)]
"""When a service recorded what it tells."""


class Message(BaseModel):
    """Immutable; unknown fields are ignored, because a newer sender may know more than this reader."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_timedelta="float", use_attribute_docstrings=True)

    wire_type: ClassVar[str]
    """The `ce_type`; a class may be renamed, this may not."""


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Money(Part):
    """An amount in minor units of an ISO 4217 currency (`1250 EUR` is 12.50 EUR; `1250 JPY` is 1250 JPY)."""

    amount: int = Field(strict=True, ge=-MAX_MINOR * 1000, le=MAX_MINOR * 1000)
    currency: Currency


class PositiveMoney(Part):
    """Money that was moved or asked for: more than nothing."""

    amount: PositiveMinor
    currency: Currency


class Actor(Part):
    """Who caused it: `key`, `operator`, `device`, `app`, `channel`, `service` or `system`, with its id."""

    type: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,30}$")]
    id: Reference


class Blocker(Part):
    """An object that stands in the way of what was asked."""

    type: str
    id: str
    holder: dict[str, str] | None = None
    amount_money: Money | None = None
    expires_at: datetime | None = None


def _version(number: int) -> int:
    if not 0 <= number < 2**31:
        raise ValueError("must be between 0 and 2147483647")
    return number


VersionNumber = Annotated[int, AfterValidator(_version)]
"""Of an order: 1, 2, 3 …; 0 is said of one that does not exist. As large as the databases keep it."""

JsonObject = dict[str, Any]
