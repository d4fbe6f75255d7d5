"""Answers: `{"data": …, "request_id": …}` as bytes, built once and without detours, since every request needs one."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from litestar.connection import Request
from litestar.response import Response
from pydantic import BaseModel, ConfigDict

from shared.http.request_ids import request_id_of

JSON = "application/json"
REPLAYED_HEADER = "Idempotent-Replayed"

Answer = Response[bytes]


class AnswerModel(BaseModel):
    """What an answer holds. What is written below a field describes it to clients."""

    model_config = ConfigDict(use_attribute_docstrings=True)


Data = BaseModel | Mapping[str, Any] | orjson.Fragment
"""What can be answered: a model, plain JSON, or JSON that is bytes already (`orjson.Fragment`)."""

AnyRequest = Request[Any, Any, Any]


def one(request: AnyRequest, data: Data, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """One object."""
    return stored(status, one_bytes(request, data), headers)


def accepted(request: AnyRequest, data: Data) -> Answer:
    """202: the work goes on; `data` is the object as it is now."""
    return one(request, data, status=202)


def many(request: AnyRequest, data: Sequence[Data], next_page_token: str | None = None) -> Answer:
    """One page of a list; without `next_page_token` it is the last."""
    members: dict[str, object] = {"data": data, "request_id": request_id_of(request.scope)}
    if next_page_token is not None:
        members["next_page_token"] = next_page_token
    return stored(200, to_json(members))


def nothing() -> Answer:
    """204: done, and there is nothing to say about it."""
    return Response(b"", status_code=204, media_type=JSON)


def one_bytes(request: AnyRequest, data: Data) -> bytes:
    """The body of `one`, for what is stored together with an idempotency key."""
    return to_json({"data": data, "request_id": request_id_of(request.scope)})


def stored(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer whose body is known already."""
    return Response(body, status_code=status, media_type=JSON, headers=headers)


def replayed(status: int, body: bytes) -> Answer:
    """The stored answer of an earlier request with the same idempotency key."""
    return stored(status, body, {REPLAYED_HEADER: "true"})


def to_json(value: object) -> bytes:
    """JSON of plain values and models, times in UTC with `Z`."""
    return orjson.dumps(value, default=_model, option=orjson.OPT_UTC_Z)


def _model(value: object) -> object:
    if isinstance(value, BaseModel):
        return orjson.Fragment(value.__pydantic_serializer__.to_json(value))
    raise TypeError(f"{type(value).__name__} is not JSON")
