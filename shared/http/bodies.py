"""Request bodies and queries, read strictly: what is not understood is refused and named, never guessed or ignored.

A body is one JSON object in UTF-8. Nothing is coerced (`"5"` is no integer, `true` is no amount), no field is unknown,
also not inside of parts whose models ignore unknown fields on Kafka. The size limit is the route's; it is checked on
`Content-Length` and again on what arrives.
"""

from typing import Annotated, Any, TypeVar, cast

import orjson
from litestar.connection import Request
from litestar.exceptions import InternalServerException
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.contracts.model import AmountMinor, PositiveMinor
from shared.contracts.model import Currency as ActiveCurrency
from shared.http.invalid import problem_for_invalid
from shared.http.problems import Problem
from shared.money import CURRENCIES

DEFAULT_BODY_LIMIT = 1024 * 1024
"""Bytes of a request body, unless a route says otherwise."""

JSON_MEDIA_TYPE = "application/json"


class RequestModel(BaseModel):
    """What a request may hold: nothing else than its fields. What is written below a field describes it to clients."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Currency = Annotated[ActiveCurrency, Field(json_schema_extra={"enum": [*sorted(CURRENCIES)]})]
"""An active ISO 4217 code; the API reference lists them."""


class AmountMoney(RequestModel):
    """Money that may be nothing: `{"amount": 1250, "currency": "EUR"}` is 12.50 EUR."""

    amount: AmountMinor
    currency: Currency


class PositiveAmountMoney(RequestModel):
    """Money that is more than nothing."""

    amount: PositiveMinor
    currency: Currency


def shown(example: object, **more: object) -> ConfigDict:
    """A model's configuration with what the API reference shows of it, and further members of its schema."""
    return ConfigDict(json_schema_extra={"examples": [cast(Any, example)], **cast(Any, more)})


def exactly_one(*names: str) -> list[object]:
    """For a schema's `oneOf`: one of these fields is given and not `null`."""
    return [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]


M = TypeVar("M", bound=BaseModel)

AnyRequest = Request[Any, Any, Any]


async def read_body(request: AnyRequest, model: type[M], media_type: str = JSON_MEDIA_TYPE) -> M:
    """The request's JSON body as `model`; raises the `Problem` that names what is wrong with it."""
    return parse_json(await read_raw(request, media_type), model)


async def read_raw(request: AnyRequest, *media_types: str) -> bytes:
    """The body's bytes, within the route's limit and of one of the media types."""
    _check_encoding(request, media_types or (JSON_MEDIA_TYPE,))
    try:
        return await request.body()
    except InternalServerException:
        # Nobody is left to be answered; it only must not look like a mistake of ours.
        raise Problem("MALFORMED_JSON", "The connection ended before the body did.") from None


def parse_json(raw: bytes, model: type[M]) -> M:
    """`raw` as `model`: strict JSON, strict types, no unknown fields, no NUL in any text."""
    _refuse_non_numbers(raw)
    try:
        parsed = model.model_validate_json(raw, strict=True, extra="forbid")
    except ValidationError as error:
        raise problem_for_invalid(error, raw) from None
    _refuse_nul(raw)
    return parsed


def read_query(request: AnyRequest, model: type[M]) -> M:
    """The query string as `model`; unknown and repeated parameters are refused."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise Problem("VALIDATION_FAILED", f"{name[:100]} is given more than once.", param=name[:100])
        values[name] = value
    try:
        return model.model_validate_strings(values, extra="forbid")
    except ValidationError as error:
        raise problem_for_invalid(error, orjson.dumps(values)) from None


async def refuse_query(request: AnyRequest) -> None:
    """For routes that take no parameters: one that is sent is a mistake, and ignoring it would hide that."""
    if request.scope.get("query_string"):
        name = next(iter(request.query_params), "")[:100]
        raise Problem("UNKNOWN_FIELD", f"{name}: This path takes no parameters.", param=name or None)


def _check_encoding(request: AnyRequest, media_types: tuple[str, ...]) -> None:
    media_type, options = request.content_type
    charset = options.get("charset", "utf-8").lower()
    compressed = request.headers.get("content-encoding", "identity").lower() != "identity"
    if media_type.lower() not in media_types or charset not in ("utf-8", "utf8") or compressed:
        raise Problem(
            "UNSUPPORTED_MEDIA_TYPE",
            f"The body must be {' or '.join(media_types)} in UTF-8, not compressed.",
            headers={"Accept": ", ".join(media_types)},
        )


def _refuse_non_numbers(raw: bytes) -> None:
    """The model's parser takes `NaN` and `Infinity` where any JSON goes; RFC 8259 has neither."""
    if b"NaN" not in raw and b"Infinity" not in raw:
        return
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem("MALFORMED_JSON", f"The body is not JSON: {error.msg}.") from None


def _refuse_nul(raw: bytes) -> None:
    """Text with a NUL cannot be stored; most fields refuse it themselves, free-form ones are caught here."""
    if b"\\u0000" in raw and (path := _nul_path(orjson.loads(raw), "")) is not None:
        raise Problem("VALIDATION_FAILED", "Text must not contain a NUL character.", param=path or None)


def _nul_path(value: object, path: str) -> str | None:
    if isinstance(value, str):
        return path if "\0" in value else None
    if isinstance(value, dict):
        if any("\0" in key for key in value):
            return path
        items: Any = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return None
    found = (_nul_path(inner, f"{path}.{key}" if path else str(key)) for key, inner in items)
    return next((inner for inner in found if inner is not None), None)
