"""What clients send and get about webhooks."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from services.apps.core.event_types import EVENT_TYPES, PATTERNS
from services.apps.core.webhooks import DeliveryStatus, DisabledReason, EndpointStatus, Error
from services.apps.http import webhook_examples as examples
from services.apps.http.shown_once import ShowsSecret
from services.apps.http.texts import Url
from shared.contracts.model import Identifier, Text, Timestamp
from shared.http.answers import AnswerModel
from shared.http.bodies import RequestModel, shown
from shared.http.pages import ListQuery

_LONGEST_OVERLAP_S = 7 * 24 * 3600


def _known_pattern(pattern: str) -> str:
    if pattern not in PATTERNS:
        raise ValueError("must be an event type, or the beginning of some with a star: order.*")
    return pattern


def _known_type(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError("must be an event type")
    return name


EventPattern = Annotated[str, AfterValidator(_known_pattern), Field(json_schema_extra={"enum": [*PATTERNS]})]
EventType = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": [*EVENT_TYPES]})]
Patterns = Annotated[list[EventPattern], Field(min_length=1, max_length=50)]


class WebhookEndpointRequest(RequestModel):
    model_config = shown(examples.NEW_ENDPOINT)

    url: Url
    """Of the public internet and with `https`; checked again at every connection. Redirects are not followed."""
    event_types: Patterns = ["*"]
    """Which events: types, or beginnings with a star such as `order.*`; `*` is all of them, also later ones."""
    description: Text | None = None


class WebhookEndpointPatch(RequestModel):
    """What is left out stays as it is."""

    model_config = shown({"event_types": ["order.*"], "status": "active"})

    url: Url | None = None
    event_types: Patterns | None = None
    description: Text | None = None
    """`null` removes it."""
    status: EndpointStatus | None = None
    """`disabled` cancels what waits for it; `active` begins anew, and brings back nothing: replay what was missed."""
    expected_version: int | None = None


class SecretRotation(RequestModel):
    model_config = shown({"overlap_s": 86400})

    overlap_s: Annotated[int, Field(ge=0, le=_LONGEST_OVERLAP_S)] = 86_400
    """How long requests are signed with the old secret too; at most seven days."""


class TestEvent(RequestModel):
    model_config = shown({"event_type": "order.paid"})

    event_type: EventType = "order.paid"


class Replay(RequestModel):
    model_config = shown({"created_from": "2026-11-21T10:00:00Z", "created_before": "2026-11-21T12:00:00Z"})

    created_from: Timestamp
    created_before: Timestamp | None = None
    """Now, unless said."""
    page_token: Annotated[str | None, Field(max_length=2_000)] = None
    """`next_page_token` of the answer before, for the rest of the same window."""

    def window(self) -> dict[str, object]:
        """What a page token is bound to."""
        return self.model_dump(mode="json", exclude={"page_token"}, exclude_none=True)


class ReplayView(AnswerModel):
    model_config = shown({"enqueued": 1200, "next_page_token": None})

    enqueued: int
    """Deliveries that will be sent."""
    next_page_token: str | None
    """For the request that replays what is left of the window; `null` when nothing is left."""


class WebhookEndpointView(ShowsSecret):
    """Where events are sent, each signed."""

    model_config = shown(examples.ENDPOINT)

    webhook_endpoint_id: str
    url: str
    description: str | None
    event_types: list[str]
    scopes: list[str]
    """What the credential that made it could do, and every one that changed `url` or `event_types` since: events tell
    no more than that. What an app's endpoint is told follows from its grant."""
    status: EndpointStatus
    disabled_reason: DisabledReason | None
    """`requested`; `gone`: it answered 410; `failing`: nothing succeeded for three days; `revoked`: the app is no
    longer installed."""
    failing_since: datetime | None
    previous_secret_ends_at: datetime | None
    """Until then, requests are signed with the secret before this one too."""
    version: int
    created_at: datetime
    updated_at: datetime


class WebhookDeliveryView(AnswerModel):
    """One event on its way to one endpoint."""

    model_config = shown(examples.DELIVERY)

    webhook_delivery_id: str
    webhook_endpoint_id: str
    event_id: str
    """Also the request's `webhook-id`, in every attempt."""
    event_type: str
    order_id: str | None
    """Of the order that the event concerns, where it concerns one."""
    test: bool
    """Whether it is about nothing that happened."""
    status: DeliveryStatus
    """`failed`: given up after the last attempt. `canceled`: the endpoint was disabled before."""
    attempts: int
    next_attempt_at: datetime | None
    """Not before; and not before earlier events of the same order."""
    last_status_code: int | None
    last_error: Error | None
    created_at: datetime
    settled_at: datetime | None


class WebhookAttemptView(AnswerModel):
    """One request; kept for 30 days."""

    model_config = shown(examples.ATTEMPT)

    attempt: int
    at: datetime
    latency_ms: int
    status_code: int | None
    error: Error | None
    """`null`: it was received."""
    response: str | None
    """The beginning of the answer's body; `null` for a credential that may not read all that the endpoint is told,
    since a receiver may send back what it was sent."""


class WebhookEventTypeView(AnswerModel):
    model_config = shown({"event_type": "order.paid"})

    event_type: str


class WebhookDeliveryQuery(ListQuery):
    """Filters of the list; all that are given must match."""

    webhook_endpoint_id: Identifier | None = None
    status: Literal["pending", "delivered", "failed", "canceled"] | None = None
