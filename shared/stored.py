"""State as it is kept: JSON of a whole immutable object, whose parts may be pydantic's where messages have them too."""

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.json import Decoder, Encoder
from pydantic import BaseModel

T = TypeVar("T")


def _fields_of(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.__dict__
    raise TypeError(f"nothing that is kept holds a {type(part).__name__}")


def _part_of(part: type[BaseModel], fields: Any) -> BaseModel:
    return part.model_validate(fields)


encode_state = Encoder(enc_hook=_fields_of).encode


def decoder_of(kind: type[T]) -> Callable[[bytes | str], T]:
    """Reads what `encode_state` wrote of such an object."""
    return Decoder(kind, dec_hook=_part_of).decode
