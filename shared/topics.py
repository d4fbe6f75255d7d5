"""Every topic that the services share, with its partitions and settings. Nothing else may come into being."""

from dataclasses import dataclass, field

ORDERS_COMMANDS = "orders.commands"
ORDERS_EVENTS = "orders.events"
ORDERS_REPLIES = "orders.replies"
PAYMENTS_EVENTS = "payments.events"
APPS_EVENTS = "apps.events"
ACCESS_GRANTS = "access.grants"
ACCESS_USED = "access.used"

DEAD_LETTERS_SUFFIX = ".dead-letters"
CHANNEL_TOPIC_PATTERN = r"^channels\.chn_[A-Za-z0-9_-]+\.payments$"

_DAY_MS = 24 * 60 * 60 * 1000
_LARGEST_MESSAGE_BYTES = 1024 * 1024
LARGEST_EVENT_BYTES = 4 * 1024 * 1024
"""What follows from the largest command is a little larger than the command."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it must be: a missing one is created, a differing one brought in line.

    How many copies must have a message follows from how many there are (`in_sync`).
    """

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


def in_sync(copies: int) -> dict[str, str]:
    """What a topic with so many copies is told besides: how many of them have a message before it is acknowledged.

    All but one, so that one broker may be away and another one may be lost. Kafka's own default is one.
    """
    return {"min.insync.replicas": str(copies - 1)} if copies > 2 else {}


def _log(name: str, partitions: int, days: int, largest_bytes: int = _LARGEST_MESSAGE_BYTES) -> TopicSpec:
    config = {"retention.ms": str(days * _DAY_MS), "max.message.bytes": str(largest_bytes)}
    return TopicSpec(name, partitions, config)


def dead_letters(topic: str) -> str:
    """The topic that takes what cannot be processed from `topic`, with the reason in its headers."""
    return topic + DEAD_LETTERS_SUFFIX


def core_topics(partitions: int) -> tuple[TopicSpec, ...]:
    """The topics between the services; `partitions` is how many workers can share one."""
    logs = (
        _log(ORDERS_COMMANDS, partitions, days=7),
        _log(ORDERS_EVENTS, partitions, days=30, largest_bytes=LARGEST_EVENT_BYTES),
        _log(ORDERS_REPLIES, partitions, days=7),
        _log(PAYMENTS_EVENTS, partitions, days=30),
        _log(APPS_EVENTS, partitions, days=30),
        _log(ACCESS_USED, 1, days=1),
    )
    grants = TopicSpec(ACCESS_GRANTS, 1, {"cleanup.policy": "compact", "segment.ms": str(_DAY_MS)})
    poison = tuple(_log(dead_letters(spec.name), 1, days=30) for spec in (*logs, grants))
    return (*logs, grants, *poison)


def channel_topic(channel_id: str) -> str:
    """The topic that one channel publishes payment events on; its name is the channel's identity."""
    return f"channels.{channel_id}.payments"


def channel_topics(channel_id: str) -> tuple[TopicSpec, TopicSpec]:
    """A channel's topic and the one for its dead letters."""
    topic = channel_topic(channel_id)
    return _log(topic, 3, days=30), _log(dead_letters(topic), 1, days=30)


def plugin_topic(app_id: str) -> str:
    """The topic on which one installed app reads the events of the merchants that let it in."""
    return f"plugins.{app_id}.orders"


def plugin_topic_spec(app_id: str) -> TopicSpec:
    """A plugin's topic; what is older than a week is published again where the plugin asks for it."""
    return _log(plugin_topic(app_id), 3, days=7)
