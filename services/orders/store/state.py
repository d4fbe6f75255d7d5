"""How an order is kept: JSON of its whole state beside the columns that it is found by."""

from pydantic import TypeAdapter

from services.orders.core.state import Order

STATE: TypeAdapter[Order] = TypeAdapter(Order)
