"""The composition root of the apps service: the only place that builds its parts."""

from collections.abc import Callable
from datetime import timedelta

from litestar import Litestar

from services.apps.connectors.kafka_topics import KafkaTopics
from services.apps.connectors.kubernetes import Kubernetes
from services.apps.connectors.oidc_provider import OidcProvider
from services.apps.connectors.strimzi_topics import StrimziTopics
from services.apps.consumers import EventsConsumer, UseConsumer
from services.apps.fan_out import FanOut
from services.apps.http.api_keys import ApiKeyController
from services.apps.http.audit_log import AuditLogController
from services.apps.http.auth_context import AuthContextController
from services.apps.http.authorize import AuthorizationController
from services.apps.http.event_stream import Places
from services.apps.http.events import EventController
from services.apps.http.installs import InstallController
from services.apps.http.merchants import MerchantController
from services.apps.http.oauth import OAuthController, WellKnownController
from services.apps.http.oidc import CALLBACK, OidcController
from services.apps.http.pages import AccountController, JoinController, SignInController
from services.apps.http.partner_apps import PartnerAppController
from services.apps.http.plugin_topics import PluginTopicController
from services.apps.http.staff_users import StaffUserController
from services.apps.http.webhook_actions import WebhookActionController, WebhookEventTypeController
from services.apps.http.webhook_deliveries import WebhookDeliveryController
from services.apps.http.webhook_endpoints import WebhookEndpointController
from services.apps.http.wiring import EventsWiring, WebhooksWiring, Wiring
from services.apps.incoming import TOPICS_OF_EVENTS
from services.apps.jobs import KeepAuditLogJob, KeepEventsJob
from services.apps.keys import AdmitPlatformKey
from services.apps.live_events import LiveEvents
from services.apps.oauth import OAuth
from services.apps.oidc import OidcSignIn
from services.apps.plugin_topics import TopicAdmin, TopicLife
from services.apps.sealing import SealAgainJob
from services.apps.signing_keys import TokenSigner
from services.apps.staff import Staff
from services.apps.webhook_jobs import EndWebhooksJob, ForgetWebhooksJob
from services.apps.webhook_sender import WebhookSender
from services.apps.webhook_signing import WebhookSigner
from services.apps.webhooks import WebhookFollower
from shared.outbound import Outbound, is_public, is_public_or_local
from shared.outside import REAL, Outside
from shared.sealing import Sealer
from shared.service import ServiceProcess
from shared.settings import Role, Settings
from shared.topics import ACCESS_USED

SERVICE = "apps"
CONTROLLERS = [
    MerchantController,
    ApiKeyController,
    AuthContextController,
    AuditLogController,
    PartnerAppController,
    InstallController,
    AuthorizationController,
    OAuthController,
    WellKnownController,
    SignInController,
    OidcController,
    JoinController,
    AccountController,
    StaffUserController,
    EventController,
    PluginTopicController,
    WebhookEndpointController,
    WebhookActionController,
    WebhookEventTypeController,
    WebhookDeliveryController,
]
_KEEP_KEYS_EVERY_S = 60.0
_TIDY_EVERY_S = 300.0
_SEAL_AGAIN_EVERY_S = 600.0
_KEEP_EVENTS_EVERY_S = 600.0
_KEEP_AUDIT_LOG_EVERY_S = 3_600.0
_PLUGIN_TOPICS_EVERY_S = 1.0
_REPLAY_EVERY_S = 0.2
_REPAIR_EVERY_S = 60.0
_END_WEBHOOKS_EVERY_S = 2.0
_FORGET_WEBHOOKS_EVERY_S = 60.0


def create_process(settings: Settings, role: Role, outside: Outside = REAL) -> ServiceProcess:
    """One process of the apps service; it connects when the app's lifespan begins."""
    process = ServiceProcess(SERVICE, settings, role, outside)
    pool, clock, wake = process.pool, process.clock, process.wake
    process.consume("uses", UseConsumer(pool), topics=[ACCESS_USED])
    if settings.platform_key_hash is not None:
        process.at_start("jobs.admit_platform_key", AdmitPlatformKey(pool, clock, wake, settings.platform_key_hash))
    sealer = Sealer(settings.sealing_key)
    signer = TokenSigner(pool, sealer, clock, wake)
    oauth = OAuth(pool, signer, process.grants, settings.public_base_url, wake)
    staff = Staff(pool, clock)
    # At once too, so that the first key is known everywhere before the first token, and a missing SEALING_KEY shows.
    process.at_start("jobs.make_signing_key", signer.keep)
    process.every(_KEEP_KEYS_EVERY_S, "jobs.keep_signing_keys", signer.keep)
    process.at_start("jobs.seal_again", SealAgainJob(pool, sealer))
    process.every(_SEAL_AGAIN_EVERY_S, "jobs.seal_again", SealAgainJob(pool, sealer))
    process.every(_TIDY_EVERY_S, "jobs.tidy_oauth", lambda: oauth.tidy(clock()))
    process.every(_TIDY_EVERY_S, "jobs.tidy_staff", staff.tidy)
    audit_kept = timedelta(days=settings.audit_kept_days)
    process.every(_KEEP_AUDIT_LOG_EVERY_S, "jobs.keep_audit_log", KeepAuditLogJob(pool, clock, audit_kept))
    tokens = process.grants.access_tokens(settings.public_base_url)
    oidc = _oidc(process, staff)
    wiring = Wiring(pool, clock, wake, settings.public_base_url, oauth, signer, tokens, staff, oidc)
    process.serve(CONTROLLERS, apps=wiring, events=_events(process), webhooks=_webhooks(process))
    return process


def _oidc(process: ServiceProcess, staff: Staff) -> OidcSignIn | None:
    """Sign-in at a provider, where one is configured."""
    settings, clock = process.settings, process.clock
    if settings.oidc.issuer is None:
        return None
    provider = OidcProvider(
        settings.oidc,
        settings.public_base_url + CALLBACK,
        lambda limits: Outbound(_admits(settings), limits),
        clock,
        local=settings.outbound_local,
    )
    return OidcSignIn(process.pool, clock, staff, provider)


def _admits(settings: Settings) -> Callable[[str], bool]:
    """Which addresses are connected to that somebody outside named."""
    return is_public_or_local if settings.outbound_local else is_public


def _events(process: ServiceProcess) -> EventsWiring:
    """Public events, from the services' topics to whoever reads them."""
    settings, pool, clock, outside = process.settings, process.pool, process.clock, process.outside
    kept = timedelta(days=settings.events_kept_days)
    fan_out = FanOut(pool, clock, process.wake)
    topics = TopicLife(pool, _topic_admin(settings, outside), fan_out, clock)
    followers = [fan_out.follow, WebhookFollower(clock).follow]
    consumer = EventsConsumer(pool, clock, process.wake, followers, kept)
    process.consume("events", consumer, topics=TOPICS_OF_EVENTS)
    process.every(_KEEP_EVENTS_EVERY_S, "jobs.keep_events", KeepEventsJob(pool, clock, kept))
    process.every(_PLUGIN_TOPICS_EVERY_S, "jobs.provide_plugin_topics", topics.work)
    process.every(_REPLAY_EVERY_S, "jobs.replay_events", fan_out.replay)
    process.every(_REPAIR_EVERY_S, "jobs.repair_plugin_topics", topics.repair)
    live = LiveEvents(settings, pool, outside)
    return EventsWiring(process.grants, live, Places(), topics, settings.kafka)


def _topic_admin(settings: Settings, outside: Outside) -> TopicAdmin:
    """Who makes the topics of apps."""
    strimzi = settings.strimzi
    if strimzi.cluster is None:
        return KafkaTopics(settings.kafka, outside.kafka)
    kubernetes = Kubernetes(strimzi.kubernetes_url, strimzi.service_account)
    return StrimziTopics(kubernetes, strimzi.cluster, strimzi.namespace, settings.kafka.replication_factor)


def _webhooks(process: ServiceProcess) -> WebhooksWiring:
    """What is sent to the endpoints that ask for events."""
    settings, pool, clock = process.settings, process.pool, process.clock
    signer = WebhookSigner(Sealer(settings.sealing_key))
    outbound = process.outside.outbound or (lambda: Outbound(_admits(settings)))
    sender = WebhookSender(pool, clock, signer, process.wake.other(), outbound=outbound)
    process.beside("webhooks", sender.run)
    process.every(_END_WEBHOOKS_EVERY_S, "jobs.end_webhooks", EndWebhooksJob(pool, clock))
    process.every(_FORGET_WEBHOOKS_EVERY_S, "jobs.forget_webhooks", ForgetWebhooksJob(pool, clock))
    return WebhooksWiring(signer, settings.outbound_local)


def create_app(settings: Settings, role: Role) -> Litestar:
    """Its HTTP app."""
    return create_process(settings, role).app()
