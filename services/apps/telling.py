"""What this service tells on `apps.events`, in the transaction that makes it so.

The public events of it follow as those of every service do: by the consumer that reads the services' topics.
"""

from collections.abc import Sequence
from typing import Any

from services.apps.audit import By
from services.apps.grants import SOURCE
from services.apps.store.endpoints import Endpoint
from services.apps.store.installs import Tenant
from shared.contracts.apps import DisabledEndpoint, WebhookEndpointDisabled
from shared.contracts.model import Message
from shared.envelope import Envelope
from shared.ids import new_id
from shared.outbox import OutboxMessage, put
from shared.postgres import Connection
from shared.topics import APPS_EVENTS

About = tuple[str, Message]
"""The id of what a message is about, and the message."""


async def tell(connection: Connection, by: By, tenant: Tenant, told: Sequence[About]) -> None:
    """It is known once the transaction commits; one statement."""
    await put(connection, [OutboxMessage(APPS_EVENTS, _envelope(by, tenant, *about)) for about in told])


async def endpoint_disabled(connection: Connection, by: By, endpoint: Endpoint) -> None:
    """Nothing more is sent to the endpoint, for the reason that it holds."""
    # Checked by the model: a disabled endpoint has a reason.
    facts: dict[str, Any] = {
        "webhook_endpoint_id": endpoint.endpoint_id,
        "environment_grant_id": endpoint.grant_id,
        "url": endpoint.url.partition("?")[0],
        "event_types": endpoint.event_types,
        "disabled_reason": endpoint.disabled_reason,
    }
    message = WebhookEndpointDisabled(webhook_endpoint=DisabledEndpoint(**facts))
    await tell(connection, by, (endpoint.merchant_id, endpoint.environment), [(endpoint.endpoint_id, message)])


def _envelope(by: By, tenant: Tenant, subject_id: str, message: Message) -> Envelope:
    return Envelope(
        id=new_id("msg"),
        type=message.wire_type,
        source=SOURCE,
        data=message.model_dump_json().encode(),
        key=subject_id,
        subject=subject_id,
        time=by.at,
        merchant_id=tenant[0],
        environment=tenant[1],
        actor=f"{by.actor.type}:{by.actor.id}",
    )
