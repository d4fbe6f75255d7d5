"""How an order is kept: JSON of its whole state beside the columns that it is found by."""

from services.orders.core.state import Order
from shared.stored import decoder_of, encode_state

__all__ = ["decode_state", "encode_state"]

decode_state = decoder_of(Order)
