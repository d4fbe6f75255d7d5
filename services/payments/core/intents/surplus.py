"""Money that was collected for an order and that the order was not owed, or did not take: somebody must look at it."""

from datetime import datetime

from services.payments.core import items
from services.payments.core.intents.moves import kind_of, tender
from services.payments.core.intents.state import Intent
from services.payments.core.resolving import OUR_CHANNEL
from services.payments.core.state import Item, KeptEvent
from shared.contracts.channels import ChannelPaymentCaptured, Method
from shared.contracts.model import Money, PositiveMoney
from shared.contracts.orders import CommandAccepted, CommandRefused


def item_for_reply(intent: Intent, reply: CommandAccepted | CommandRefused, now: datetime) -> Item | None:
    """The item that an order's reply to what was collected leads to, if any."""
    if kind_of(reply.command_id) != "fact" or not intent.captured_minor:
        return None
    if isinstance(reply, CommandRefused):
        return items.item_for(_told(intent, reply), "conflict", reply.detail or reply.code, now)
    surplus, status = reply.facts.get("surplus_minor", 0), reply.facts.get("order_status")
    if not surplus:
        return None
    money = Money(amount=surplus, currency=intent.currency)
    if status is not None:
        return items.item_for(_told(intent, reply), "closed_order", f"The order was {status}.", now, money)
    return items.item_for(_told(intent, reply), "surplus", "The order has more than it is owed.", now, money)


def _told(intent: Intent, reply: CommandAccepted | CommandRefused) -> KeptEvent:
    """What was collected, as a channel would have told it."""
    about = tender(intent)
    event = ChannelPaymentCaptured(
        order_id=intent.order_id,
        payment_reference=intent.reference or reply.command_id,
        amount_money=PositiveMoney(amount=intent.captured_minor, currency=intent.currency),
        method=None if about.method is None else Method(**about.method.model_dump()),
        source=about.source,
    )
    assert intent.payment_id is not None, "what was collected is a payment"
    return KeptEvent(
        channel_event_id=reply.command_id,
        channel_id=OUR_CHANNEL,
        merchant_id=intent.merchant_id,
        environment=intent.environment,
        event_id=reply.command_id,
        event=event,
        payment_id=intent.payment_id,
        status="applied" if isinstance(reply, CommandAccepted) else "refused",
        order_id=intent.order_id,
        currency=intent.currency,
        order_version=reply.order_version,
    )
