"""Money that was collected for an order and that the order was not owed, or did not take: somebody must look at it."""

from datetime import datetime

from services.payments.core import items
from services.payments.core.intents.moves import tender
from services.payments.core.intents.state import Intent
from services.payments.core.returning import OUR_CHANNEL
from services.payments.core.settling import beyond_what_is_owed
from services.payments.core.state import Item, KeptEvent
from shared.contracts.channels import ChannelPaymentCaptured, Method
from shared.contracts.model import PositiveMoney
from shared.contracts.orders import CommandAccepted, CommandRefused


def item_for_reply(intent: Intent, reply: CommandAccepted | CommandRefused, now: datetime) -> Item | None:
    """The item that an order's reply to what was collected leads to, if any; `intent` as it was before the reply."""
    collected_minor = dict(intent.collected).get(reply.command_id)
    if collected_minor is None:
        return None
    kept = _told(intent, collected_minor, reply)
    if isinstance(reply, CommandRefused):
        return items.item_for(kept, "conflict", reply.detail or reply.code, now)
    return beyond_what_is_owed(kept, reply, now)


def _told(intent: Intent, collected_minor: int, reply: CommandAccepted | CommandRefused) -> KeptEvent:
    """What was collected, as a channel would have told it."""
    about = tender(intent)
    event = ChannelPaymentCaptured(
        order_id=intent.order_id,
        payment_reference=intent.reference or reply.command_id,
        amount_money=PositiveMoney(amount=collected_minor, currency=intent.currency),
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
