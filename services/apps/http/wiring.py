"""What the routes of apps need, put together by the composition root and found in the app's state."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from services.apps.core.audit import By
from services.apps.http.event_stream import Places
from services.apps.live_events import LiveEvents
from services.apps.oauth import OAuth
from services.apps.oidc import OidcSignIn
from services.apps.plugin_topics import TopicLife
from services.apps.signing_keys import TokenSigner
from services.apps.staff import Staff
from services.apps.webhook_signing import WebhookSigner
from shared.auth.grants import GrantsCopy
from shared.auth.guard import ApiRequest
from shared.auth.tokens import AccessTokens
from shared.clock import Clock
from shared.contracts.model import Actor
from shared.http.answers import AnyRequest
from shared.http.request_ids import request_id_of
from shared.postgres import Pool
from shared.settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Wiring:
    """`committed` is called after each commit that may have left messages in the outbox."""

    pool: Pool
    clock: Clock
    committed: Callable[[], None]
    base_url: str
    """Where clients reach us; who issues access tokens."""
    oauth: OAuth
    signer: TokenSigner
    tokens: AccessTokens
    staff: Staff
    oidc: OidcSignIn | None
    """Where staff can sign in at a provider."""


def by_actor(request: AnyRequest, wiring: Wiring, actor: Actor) -> By:
    """The actor as the one who acts now, for the audit log."""
    return By(actor, wiring.clock(), request_id_of(request.scope))


def by_caller(request: ApiRequest, now: datetime) -> By:
    """The caller as the one who acts, for the audit log."""
    return By(request.user.actor, now, request_id_of(request.scope))


@dataclass(frozen=True, slots=True)
class WebhooksWiring:
    """What the routes of webhooks need besides."""

    signer: WebhookSigner
    local: bool
    """Whether they may go to local addresses."""


@dataclass(frozen=True, slots=True)
class EventsWiring:
    """What the routes of events and plugin topics need besides."""

    grants: GrantsCopy
    live: LiveEvents
    streams: Places
    topics: TopicLife
    kafka: KafkaSettings
