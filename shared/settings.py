"""Environment to one frozen settings object, read once at start.

Every variable has a default that suits one machine, except those that hold a secret. Names follow the field of the
class in capitals: `DATABASE_URL`, `KAFKA_BOOTSTRAP_SERVERS`, `KAFKA_SASL_PASSWORD` …
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Role = Literal["api", "worker", "all"]


class Misconfigured(ValueError):
    """The environment lacks something, or says what cannot be; the text says what."""


class KafkaSettings(BaseSettings):
    """How this process reaches Kafka, and what it tells foreign clients about reaching it."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="KAFKA_")

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: str | None = None

    client_bootstrap_servers: str = "127.0.0.1:9094"
    """The listener that channels and plugins log in to with credentials of their own."""
    client_security_protocol: Literal["SASL_PLAINTEXT", "SASL_SSL"] = "SASL_PLAINTEXT"

    session_timeout_ms: int = Field(default=3_000, ge=1_000, le=300_000)
    """How long after a worker's death others take over its partitions. Brokers allow 6,000 or more unless their
    `group.min.session.timeout.ms` is lowered; one that refuses this is asked for 6,000."""

    replication_factor: int = Field(default=1, ge=1, le=7)
    """Copies of each topic that Throughline creates; three in production."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        known = self.sasl_mechanism and self.sasl_username and self.sasl_password
        if self.security_protocol.startswith("SASL") and not known:
            raise ValueError("KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD are needed for SASL")
        return self


class StrimziSettings(BaseSettings):
    """Kafka that Strimzi runs on Kubernetes: the topics of plugins are then made as resources of its operators."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="STRIMZI_", env_ignore_empty=True)

    cluster: str | None = None
    """The name of the Kafka resource. While there is none, topics are made through Kafka's own admin API."""
    namespace: str | None = None
    """Where its operators look for resources; where this pod runs, unless said."""
    kubernetes_url: str = "https://kubernetes.default.svc"
    service_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """The directory of this pod's token, certificate and namespace."""


class RateLimits(BaseSettings):
    """How many requests one process takes: so many a second for ever, and `…_BURST` at once after a pause.

    They are counted in each process by itself: of several, each takes so many. 0 a second: without limit.
    """

    model_config = SettingsConfigDict(frozen=True, env_prefix="RATE_LIMIT_")

    api_key_per_s: float = Field(default=100, ge=0)
    api_key_burst: int = Field(default=300, ge=1)
    installation_per_s: float = Field(default=100, ge=0)
    installation_burst: int = Field(default=300, ge=1)
    platform_per_s: float = Field(default=100, ge=0)
    platform_burst: int = Field(default=300, ge=1)

    merchant_per_s: float = Field(default=300, ge=0)
    merchant_burst: int = Field(default=900, ge=1)
    """For all credentials of a merchant in one environment together, so that many keys are no way around."""

    address_per_s: float = Field(default=10, ge=0)
    address_burst: int = Field(default=100, ge=1)
    """For requests without a valid credential, by client address. Behind a proxy, `FORWARDED_ALLOW_IPS` names it."""


UNLIMITED = RateLimits(api_key_per_s=0, installation_per_s=0, platform_per_s=0, merchant_per_s=0, address_per_s=0)
"""For load that one key sends to one process on purpose."""


class OidcSettings(BaseSettings):
    """A provider of the company's own with which staff can sign in (OpenID Connect); none while there is no issuer."""

    # What is wrong is said without what was given, which holds a secret.
    model_config = SettingsConfigDict(frozen=True, env_prefix="OIDC_", env_ignore_empty=True, hide_input_in_errors=True)

    issuer: str | None = None
    """As the provider writes it: `https://accounts.google.com`."""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    name: str = "your company account"
    """What the button says after "Sign in with"."""

    allowed_domains: Annotated[frozenset[str], NoDecode] = frozenset()
    """Domains of e-mail addresses, with commas between: nobody else comes in this way. All, where there are none."""
    roles_claim: str | None = None
    """A claim of the ID token that must name a role (`owner`, `manager` …), as text or in a list."""

    join_merchant_id: str | None = None
    """Whoever comes from the provider without an invitation joins this merchant, as the claim says or `join_role`."""
    join_role: Literal["owner", "manager", "finance", "support", "clerk"] | None = None

    @field_validator("allowed_domains", mode="before")
    @classmethod
    def _by_commas(cls, given: object) -> object:
        text = given if isinstance(given, str) else None
        return given if text is None else frozenset(each.strip().casefold() for each in text.split(",") if each.strip())

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer is not None and not (self.client_id and self.client_secret.get_secret_value()):
            raise ValueError("OIDC_ISSUER needs OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
        by_domain = self.join_role is not None and self.allowed_domains
        if self.join_merchant_id is not None and self.roles_claim is None and not by_domain:
            raise ValueError(
                "OIDC_JOIN_MERCHANT_ID needs OIDC_ROLES_CLAIM, or OIDC_JOIN_ROLE and OIDC_ALLOWED_DOMAINS: "
                "otherwise everybody with an account at the provider would join"
            )
        return self


class SandboxSettings(BaseSettings):
    """The simulated acquirer, which takes what is paid with cards and wallets in test environments."""

    model_config = SettingsConfigDict(frozen=True, env_prefix="SANDBOX_", env_ignore_empty=True)

    url: str | None = None
    """Where it runs by itself (`http://sandbox:8080`). Without one it is used in the same process, or not at all."""
    secret: SecretStr = SecretStr("")
    """What whoever asks it has to know, and what the addresses of its challenges are signed with."""
    concurrency: int = Field(default=2_000, ge=1, le=100_000)
    """Questions to it that one process has under way at the same time; with fewer than it makes attempts at once, slow
    answers keep all others waiting."""


class Settings(BaseSettings):
    """What one process of one service needs to know."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True)

    database_url: SecretStr = SecretStr("postgresql://postgres@127.0.0.1:5432/postgres")
    database_pool_size: int = Field(default=10, ge=2, le=200)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)

    consumer_batch_size: int = Field(default=500, ge=1, le=10_000)
    """Most messages that a worker handles in one transaction."""
    consumer_lanes: int = Field(default=2, ge=1, le=16)
    """Transactions that a worker has under way at the same time where more messages wait than go into one, each with
    partitions of its own."""
    consumer_pace_ms: int = Field(default=10, ge=0, le=1_000)
    """How long after a batch the next one begins at the earliest: under load more messages share a transaction, and a
    message that comes after a pause does not wait."""
    relay_pace_ms: int = Field(default=5, ge=0, le=1_000)
    """The same for what is read from the outbox and published together."""
    http_batch_size: int = Field(default=200, ge=1, le=1_000)
    """Most writing requests that share a transaction; with 1 each has its own, as many at once as the pool allows."""
    command_partitions: int = Field(default=12, ge=1, le=1024)
    """Partitions of the topics that are keyed by order id; how many workers can share the work."""

    rate_limits: RateLimits = Field(default_factory=RateLimits)

    platform_key_hash: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None
    """The SHA-256 of the key that may create merchants, in hex; read by the apps service. `throughline platform-key`
    makes both. Once admitted it is managed like any other key: rotated or revoked, it does not come back."""
    events_kept_days: int = Field(default=90, ge=1, le=3_650)
    """How long public events can be read, followed and replayed; they go by the week."""
    audit_kept_days: int = Field(default=3_653, ge=365, le=36_525)
    """How long entries of the audit log are kept: ten years, as auditors of finances ask for. They go by the year."""

    unmatched_money_days: int = Field(default=30, ge=1, le=3_650)
    """How long money that fits no order may wait for somebody; after that it is overdue."""
    unmatched_money_policy: Literal["hold", "return"] = "hold"
    """What is then to happen to it: it goes on waiting, or it is due to go back (`return_due`), and a processor that
    collected it is asked for that."""

    sealing_key: SecretStr = SecretStr("")
    """Encrypts the secrets that `apps` must be able to read again; see `shared/sealing.py`."""

    sandbox: SandboxSettings = Field(default_factory=SandboxSettings)
    oidc: OidcSettings = Field(default_factory=OidcSettings)
    strimzi: StrimziSettings = Field(default_factory=StrimziSettings)

    outbound_local: bool = False
    """Whether webhooks and sign-in at a provider may go to this machine and to private networks, and without TLS; for
    development."""

    otlp_endpoint: str | None = Field(default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """Traces go there (OTLP over HTTP); none are recorded when it is not set."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"
    public_base_url: str = "http://127.0.0.1:8080"
