"""An app's own Kafka topic: what its pieces are called, and what is published on it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from services.apps.core.event_types import Reader
from services.apps.core.events import PublicEvent
from shared.immutable import immutable

TopicStatus = Literal["pending", "ready", "deleting"]
ReplayStatus = Literal["running", "finished"]

REPLAY_HEADER: Final = "tl_replay"
"""On what is published again: the id of the replay."""


@immutable
class PluginTopic:
    """A topic of an app. Until it is ready, events wait for it, and are published in their order once it is there."""

    app_id: str
    status: TopicStatus
    has_credentials: bool
    created_at: datetime
    updated_at: datetime


@immutable
class Replay:
    """Events of one environment that are published again, from `begins_after` up to `ends_at`."""

    replay_id: str
    app_id: str
    environment: str
    merchant_id: str | None
    """Of one merchant, or of all that let the app in."""
    created_from: datetime
    begins_after: int
    done_to: int
    ends_at: int
    published: int
    status: ReplayStatus
    created_at: datetime
    updated_at: datetime

    @property
    def progress(self) -> float:
        """How much of the way is done, from 0 to 1."""
        way = self.ends_at - self.begins_after
        return 1.0 if way <= 0 else (self.done_to - self.begins_after) / way


@immutable
class Publication:
    """An event on its way to the topics of those apps that may see it in this form."""

    app_ids: tuple[str, ...]
    event: PublicEvent
    body: bytes


def publications(
    events: Sequence[PublicEvent], readers: Mapping[tuple[str, str], Sequence[tuple[str, Reader]]]
) -> list[Publication]:
    """The events for the apps that are told of them, in the order of the events; each app gets each of them once.

    `readers` are the apps of each merchant in each environment that may read orders.
    """
    told = []
    for event in events:
        forms: dict[bytes, list[str]] = {}
        for app_id, reader in readers.get((event.merchant_id, event.environment), ()):
            if event.subject is None or event.is_for(reader):
                forms.setdefault(event.body(reader.scopes), []).append(app_id)
        told += [Publication(tuple(app_ids), event, body) for body, app_ids in forms.items()]
    return told


def username_of(app_id: str) -> str:
    """Who the app is to Kafka."""
    return f"plugin-{app_id}"


def group_prefix_of(app_id: str) -> str:
    """What the names of the app's consumer groups begin with; the dot ends it, so that no other app's do."""
    return f"plugins.{app_id}."
