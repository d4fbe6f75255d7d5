"""The auditor finds what is wrong with what the public is told: an honest world is spoilt in one way after another."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.simulation.auditor import Invariant, audit
from tests.simulation.books import Consent, Receiver, Replay
from tests.simulation.toy import MERCHANT, ToyWorld
from tests.simulation.world_api import APPS_EVENTS, EVENTS, PAYMENTS_EVENTS, Request

TOPIC, URL = "plugins.app_1.orders", "https://whe-1.example/"


def honest() -> ToyWorld:
    """An order of two versions and its surplus, told to an app and to a receiver; both are let in from before."""
    world = ToyWorld()
    world.create("ord_A", 1000)
    world.take("psp-1", 1050, "ord_A", ("order_overpaid", {"credit_minor": 50}), surplus_minor=50)
    world.item("surplus", world.say("captured", "psp-1", 1050, "ord_A"), "ord_A", 50)
    world.settle()
    told = world.records(EVENTS)
    told[:] = [record._replace(at_s=10.0 * version) for version, record in enumerate(told, start=1)]
    world.records(PAYMENTS_EVENTS)[-1] = world.records(PAYMENTS_EVENTS)[-1]._replace(at_s=20.0)
    consent = Consent("app_1", MERCHANT, "grt_1", reads=True, asked_s=1.0, granted_s=2.0, reads_payments=True)
    world.books.consents.append(consent)
    world.books.receivers[URL] = Receiver("whe_1", URL, MERCHANT, "well", ("*",), consent, since_s=2.0)
    world.rows("apps.webhook_endpoints").append({"endpoint_id": "whe_1", "status": "active", "failures": 0})
    for position, (version, kind) in enumerate([(1, "created"), (2, "payment_captured"), (2, "overpaid")], start=1):
        event(world, position, 10.0 * version, f"order.{kind}", "ord_A", version=version)
    installed = orjson.dumps({"environment_grant": {"environment_grant_id": "grt_1"}})
    kind, head = "apps.environment_grant_created.v1", {"ce_id": "msg_1", "ce_merchantid": MERCHANT}
    lay(world, APPS_EVENTS, 2.0, "grt_1", installed, ce_type=kind, **head)
    event(world, 4, 2.0, "partner_app.environment_grant.created", "grt_1")
    event(world, 5, 20.0, "unmatched_money.found", "ord_A", subject_id="um-0")
    return world


def lay(world: ToyWorld, topic: str, at_s: float, key: str, value: bytes, **headers: str) -> None:
    world.lay(topic, key, value, **headers)
    world.records(topic)[-1] = world.records(topic)[-1]._replace(at_s=at_s)


def event(
    world: ToyWorld,
    position: int,
    since_s: float,
    kind: str,
    key: str,
    *,
    version: int | None = None,
    subject_id: str | None = None,
) -> None:
    """It is kept, and told everywhere."""
    name, order_id = f"evt_{position}", key if version or subject_id else None
    row = {"event_id": name, "position": position, "type": kind, "order_id": order_id, "order_version": version}
    world.rows("apps.events").append(row | {"merchant_id": MERCHANT, "subject_id": subject_id or key})
    body = {"event_id": name, "order_id": order_id}
    lay(world, TOPIC, since_s + 1, key, orjson.dumps(body), ce_id=name, ce_type=kind)
    at_s = since_s + position
    world.evidence.requests.append(Request(at_s, URL, name, body, at_s + 0.5))
    delivery = {"endpoint_id": "whe_1", "event_id": name, "order_id": key, "status": "delivered", "tries": 1}
    world.rows("apps.webhook_deliveries").append(delivery | {"seq": position})


def revoke(world: ToyWorld, at_s: float) -> None:
    world.books.consents[0].revoke_asked_s = world.books.consents[0].revoked_s = at_s


def narrow(world: ToyWorld, at_s: float) -> None:
    """The app may read nothing of payments any more."""
    world.books.consents[0].narrow_asked_s = world.books.consents[0].narrowed_s = at_s


def replay(world: ToyWorld, *again: int, asked_s: float = 30.0, status: str = "finished", ends_at: int = 5) -> None:
    """The app asked for everything once more, and was told of these."""
    world.books.replays["rpl_1"] = Replay("app_1", asked_s)
    row = {"replay_id": "rpl_1", "app_id": "app_1", "status": status, "ends_at": ends_at}
    world.rows("apps.plugin_replays").append(row)
    first = list(world.records(TOPIC))
    for number in again:
        told = first[number]
        headers = {name: value.decode() for name, value in told.headers}
        lay(
            world,
            TOPIC,
            asked_s + 1 + number,
            (told.key or b"").decode(),
            told.value or b"",
            tl_replay="rpl_1",
            **headers,
        )


def swap(things: list[Any], one: int, other: int) -> None:
    things[one], things[other] = things[other], things[one]


def late(world: ToyWorld, position: int, at_s: float) -> None:
    world.evidence.requests[position].at_s = at_s


SPOILT: list[tuple[Invariant, Callable[[ToyWorld], Any]]] = [
    (Invariant.EVENTS_ONCE, lambda world: world.rows("apps.events").pop()),
    (Invariant.EVENTS_ONCE, lambda world: world.rows("apps.events").append(world.rows("apps.events")[0])),
    (Invariant.EVENTS_ONCE, lambda world: world.rows("apps.events")[1].update(position=9)),
    (Invariant.EVENTS_ONCE, lambda world: world.rows("apps.events")[1].update(event_id="evt_1")),
    (Invariant.EVENTS_ONCE, lambda world: world.rows("apps.events")[1].update(merchant_id="mer_2")),
    (Invariant.NOTHING_INVENTED, lambda world: world.rows("apps.events")[0].update(order_id="ord_Z")),
    (Invariant.NOTHING_INVENTED, lambda world: setattr(world.books.consents[0], "grant_id", "grt_2")),
    (Invariant.NOTHING_WITHOUT_CONSENT, lambda world: setattr(world.books.consents[0], "grant_id", "grt_2")),
    (Invariant.EVENTS_ONCE, lambda world: world.rows("apps.events")[4].update(type="unmatched_money.attached")),
    (Invariant.NOTHING_INVENTED, lambda world: world.rows("apps.events")[4].update(order_id=None)),
    (Invariant.NOTHING_INVENTED, lambda world: setattr(world.books.consents[0], "reads_payments", False)),
    (Invariant.NOTHING_WITHOUT_CONSENT, lambda world: setattr(world.books.consents[0], "reads_payments", False)),
    (Invariant.NOTHING_LOST, lambda world: world.records(TOPIC).pop(4)),
    (Invariant.WEBHOOKS_ARRIVE, lambda world: world.rows("apps.webhook_deliveries").pop(4)),
    (Invariant.TOPICS_IN_ORDER, lambda world: swap(world.records(TOPIC), 0, 1)),
    (Invariant.TOPICS_IN_ORDER, lambda world: world.records(TOPIC).pop(1)),
    (Invariant.NOTHING_LOST, lambda world: world.records(TOPIC).pop()),
    (Invariant.NOTHING_LOST, lambda world: world.records(TOPIC).pop(2)),
    (Invariant.NOTHING_WITHOUT_CONSENT, lambda world: revoke(world, 15.0)),
    (Invariant.NOTHING_WITHOUT_CONSENT, lambda world: setattr(world.books.consents[0], "reads", False)),
    (Invariant.NOTHING_WITHOUT_CONSENT, lambda world: setattr(world.books.consents[0], "merchant_id", "mer_2")),
    (Invariant.WEBHOOKS_ONE_BY_ONE, lambda world: swap(world.evidence.requests, 0, 2)),
    (Invariant.WEBHOOKS_ONE_BY_ONE, lambda world: setattr(world.evidence.requests[1], "understood_s", 23.5)),
    (Invariant.WEBHOOKS_ONE_BY_ONE, lambda world: setattr(world.evidence.requests[0], "understood_s", None)),
    (Invariant.WEBHOOKS_ARRIVE, lambda world: world.evidence.requests.pop()),
    (Invariant.WEBHOOKS_ARRIVE, lambda world: world.rows("apps.webhook_deliveries").pop()),
    (
        Invariant.WEBHOOKS_ARRIVE,
        lambda world: world.rows("apps.webhook_deliveries")[2].update(status="pending", tries=0),
    ),
    (Invariant.WEBHOOKS_ARRIVE, lambda world: world.rows("apps.webhook_deliveries")[2].update(status="canceled")),
    (Invariant.WEBHOOKS_ARRIVE, lambda world: world.rows("apps.webhook_deliveries")[2].update(status="failed")),
    (
        Invariant.NOTHING_TWICE,
        lambda world: world.rows("apps.webhook_deliveries").append(world.rows("apps.webhook_deliveries")[0]),
    ),
    (Invariant.NOBODY_IS_HELD_UP, lambda world: late(world, 2, 45.0)),
    (Invariant.NOTHING_WITHOUT_CONSENT, lambda world: narrow(world, 15.0)),
    (Invariant.NOTHING_LOST, lambda world: replay(world, 0, 1, 2, 3)),
    (Invariant.NOTHING_LOST, lambda world: replay(world, 1, 2, 3, 4, ends_at=0)),
    (Invariant.TOPICS_IN_ORDER, lambda world: replay(world, 1, 0, 2, 3, 4)),
    (Invariant.EVERYTHING_SETTLES, lambda world: replay(world, 0, 1, 2, 3, 4, status="running")),
    (Invariant.NOTHING_INVENTED, lambda world: (replay(world, 0, 1, 2, 3, 4), world.books.replays.clear())),
    (Invariant.NOTHING_INVENTED, lambda world: (replay(world, 0), world.rows("apps.plugin_replays").clear())),
    (Invariant.NOTHING_WITHOUT_CONSENT, lambda world: (replay(world, 0, 1, 2, 3, 4), revoke(world, 25.0))),
]


def test_an_honest_world_is_right() -> None:
    assert audit(honest().books, honest().evidence, finished=True) == []


def test_everything_may_be_told_again() -> None:
    world = honest()
    replay(world, 0, 1, 2, 3, 4)
    assert audit(world.books, world.evidence, finished=True) == []


def test_what_happened_after_it_was_asked_for_need_not_be_told_again() -> None:
    world = honest()
    replay(world, 0, 3, asked_s=15.0, ends_at=1)
    assert audit(world.books, world.evidence, finished=True) == []


def test_who_may_read_less_is_still_told_of_orders() -> None:
    world = honest()
    narrow(world, 19.0)
    world.rows("apps.webhook_deliveries")[4].update(status="failed")
    world.evidence.requests.pop()
    world.records(TOPIC).pop()
    assert audit(world.books, world.evidence, finished=True) == []


@pytest.mark.parametrize(("invariant", "spoil"), SPOILT)
def test_a_spoilt_one_is_found_out(invariant: Invariant, spoil: Callable[[ToyWorld], Any]) -> None:
    world = honest()
    spoil(world)
    assert invariant in {finding.invariant for finding in audit(world.books, world.evidence, finished=True)}


def test_what_was_on_its_way_when_consent_ended_may_come_while_things_are_wrong() -> None:
    world = honest()
    revoke(world, 20.2)
    late(world, 2, 29.0)
    found = audit(world.books, world.evidence, finished=True)
    assert {finding.invariant for finding in found} == {Invariant.NOTHING_WITHOUT_CONSENT}
    world.evidence.troubles.append((20.3, 28.0))
    assert audit(world.books, world.evidence, finished=True) == []
