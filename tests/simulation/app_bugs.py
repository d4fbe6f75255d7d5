"""Bugs planted into the apps service, one at a time; see `tests.simulation.bugs`."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from unittest.mock import patch

from services.apps import app, fan_out, webhook_sender
from services.apps.consumers import EventsConsumer
from services.apps.core import event_types, events
from services.apps.fan_out import FanOut
from services.apps.store import endpoints, plugin_topics
from services.apps.webhook_sender import WebhookSender
from shared.faults import Transient
from shared.immutable import replace
from shared.topics import APPS_EVENTS, ORDERS_EVENTS
from tests.simulation.bugs import Bug, plant_into
from tests.simulation.postgres.statements.apps import sending, webhooks

APP_BUGS: dict[str, Bug] = {}
"""By name, which says what is wrong."""
bug = plant_into(APP_BUGS)


@bug
def events_are_acknowledged_before_they_are_kept() -> Iterator[None]:
    """An outage counts as done."""
    keep = EventsConsumer.__call__

    async def hasty(self: EventsConsumer, records: Sequence[Any]) -> Any:
        try:
            return await keep(self, records)
        except Transient:
            return [None] * len(records)

    with patch.object(EventsConsumer, "__call__", hasty):
        yield


@bug
def events_are_called_otherwise_each_time() -> Iterator[None]:
    name, times = events._event_id, count()

    def anew(moment: datetime, about: tuple[object, ...]) -> str:
        return name(moment, (*about, next(times)))

    with patch.object(events, "_event_id", anew):
        yield


@bug
def consent_is_ignored() -> Iterator[None]:
    """Whoever is installed reads orders, whatever the merchant said that it may do."""
    with patch.object(fan_out, "may_read", lambda scopes, scope: True):
        yield


@bug
def payments_are_told_to_whoever_reads_orders() -> Iterator[None]:
    too_open = replace(event_types.FAMILIES["unmatched_money"], scope=event_types.READ_SCOPE)
    with patch.dict(event_types.FAMILIES, {"unmatched_money": too_open}):
        yield


@bug
def nobody_reads_what_payments_tell() -> Iterator[None]:
    with patch.object(app, "TOPICS_OF_EVENTS", (ORDERS_EVENTS, APPS_EVENTS)):
        yield


@bug
def a_revoked_app_is_remembered() -> Iterator[None]:
    remembered: dict[str, Any] = {}
    installed = fan_out.installed

    async def once(connection: Any, tenants: Sequence[Any]) -> Any:
        remembered.update({app.grant_id: app for app in await installed(connection, tenants)})
        return [app for app in remembered.values() if (app.merchant_id, app.environment) in tenants]

    with patch.object(fan_out, "installed", once):
        yield


@bug
def a_topic_that_is_not_there_yet_misses_events() -> Iterator[None]:
    """It begins where it is ready, not where the app was let in."""
    begin = plugin_topics.begin

    async def late(connection: Any, app_ids: Any, filled_to: int, now: Any) -> None:
        await begin(connection, app_ids, filled_to + 50, now)

    with patch.object(plugin_topics, "begin", late):
        yield


@bug
def retries_lose_the_order_of_a_key() -> Iterator[None]:
    """Whatever is due is sent, also what comes after something that failed."""
    with patch.object(sending, "_heads", list):
        yield


@bug
def a_claim_is_never_taken_over() -> Iterator[None]:
    with patch.object(webhook_sender, "_CLAIM", timedelta(days=10)):
        yield


@bug
def a_dead_receiver_holds_all_up() -> Iterator[None]:
    """A turn begins when all requests of the one before have ended."""
    turn = WebhookSender._turn

    async def patient(self: WebhookSender, outbound: Any) -> None:
        if self._requests:
            await asyncio.wait(list(self._requests))
        await turn(self, outbound)

    with patch.object(WebhookSender, "_turn", patient):
        yield


@bug
def webhooks_go_on_after_a_revocation() -> Iterator[None]:
    def whatever_was_granted(t: Any, endpoint: Any) -> list[str]:
        return list(endpoint["scopes"])

    async def none(*_: Any) -> list[str]:
        return []

    with (
        patch.object(sending, "scopes_now", whatever_was_granted),
        patch.object(webhooks, "scopes_now", whatever_was_granted),
        patch.object(endpoints, "revoked", none),
    ):
        yield


@bug
def a_replay_goes_on_after_what_it_only_looked_at() -> Iterator[None]:
    """Each step counts as if it had found room for all that lies there."""

    async def hasty(self: FanOut, connection: Any, replay: Any) -> tuple[int, int]:
        with patch.object(fan_out, "_AT_ONCE", 3):
            _, published = await self._copy(connection, replay.app_id, replay.done_to, replay.ends_at, replay)
        return replay.ends_at, published

    with patch.object(FanOut, "_replayed", hasty):
        yield


@bug
def what_waits_is_told_although_the_right_was_taken() -> Iterator[None]:
    async def nothing(*_: Any) -> None:
        pass

    with patch.object(fan_out, "narrow", nothing), patch.object(events.PublicEvent, "is_for", lambda *_: True):
        yield
