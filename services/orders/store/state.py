"""How an order is kept: JSON of its whole state beside the columns that it is found by."""

from typing import Any

from msgspec.json import Decoder, Encoder
from pydantic import BaseModel

from services.orders.core.state import Order


def _fields_of(part: Any) -> Any:
    """The parts of an order that messages have as well are pydantic's."""
    if isinstance(part, BaseModel):
        return part.__dict__
    raise TypeError(f"an order holds no {type(part).__name__}")


def _part_of(part: type[BaseModel], fields: Any) -> BaseModel:
    return part.model_validate(fields)


encode_state = Encoder(enc_hook=_fields_of).encode
decode_state = Decoder(Order, dec_hook=_part_of).decode
