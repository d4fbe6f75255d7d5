"""Which messages lie in which topic; the AsyncAPI document and the checks of contracts are made from it."""

from collections.abc import Mapping
from typing import Final

from shared import topics
from shared.contracts import apps, payments
from shared.contracts.access import CredentialsUsed, Grant, SigningKey
from shared.contracts.channels import CHANNEL_EVENTS
from shared.contracts.model import Message
from shared.contracts.orders import COMMANDS, CommandAccepted, CommandRefused, OrderVersion
from shared.contracts.payment_intents import INTENT_EVENTS
from shared.contracts.public_events import PublicEvent

CHANNEL_PAYMENTS: Final = topics.channel_topic("{channel_id}")
"""Each channel's topic; the braces stand for its id."""
PLUGIN_ORDERS: Final = topics.plugin_topic("{app_id}")
"""Each installed app's topic."""

MESSAGES_BY_TOPIC: Final[Mapping[str, tuple[type[Message], ...]]] = {
    topics.ORDERS_COMMANDS: tuple(COMMANDS.values()),
    topics.ORDERS_EVENTS: (OrderVersion,),
    topics.ORDERS_REPLIES: (CommandAccepted, CommandRefused),
    topics.PAYMENTS_EVENTS: (
        payments.ChannelEventApplied,
        payments.ChannelEventRefused,
        payments.UnmatchedMoneyFound,
        payments.UnmatchedMoneyAttached,
        payments.UnmatchedMoneyReturned,
        payments.UnmatchedMoneyDismissed,
        *INTENT_EVENTS.values(),
    ),
    topics.APPS_EVENTS: (
        apps.InstallCreated,
        apps.InstallPermissionsUpdated,
        apps.InstallRevoked,
        apps.EnvironmentGrantCreated,
        apps.EnvironmentGrantRevoked,
        apps.WebhookEndpointDisabled,
    ),
    topics.ACCESS_USED: (CredentialsUsed,),
    topics.ACCESS_GRANTS: (Grant, SigningKey),
    CHANNEL_PAYMENTS: tuple(CHANNEL_EVENTS.values()),
    PLUGIN_ORDERS: (PublicEvent,),
}
"""`ce_type` is the message's wire type, except in `orders.events`, where it is that of the version's leading event, and
on the topics of apps, where it is the public event's."""

WRITTEN_BY_OTHERS: Final = frozenset({topics.ORDERS_COMMANDS, CHANNEL_PAYMENTS})
"""Topics in which Throughline reads what others may write; from the rest others only read."""
