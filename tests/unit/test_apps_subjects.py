"""Events of other things than orders: what a service's message becomes, and who is told of it."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.apps.core.event_types import EVENT_TYPES, FAMILIES, TYPES_OF_ONE_APP, Reader
from services.apps.core.events import PublicEvent, created_in
from services.apps.core.plugin_topics import publications
from services.apps.core.samples import sample_event
from services.apps.incoming import KINDS, TOPICS_OF_EVENTS, events_in
from services.payments.consumers import _version_in
from shared.contracts import public_events
from shared.contracts.topics_messages import MESSAGES_BY_TOPIC
from shared.envelope import Envelope
from shared.faults import Poison
from shared.topics import APPS_EVENTS, ORDERS_EVENTS, PAYMENTS_EVENTS
from tests.apps import version_of

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[1] / "contract" / "examples"
DISABLED = "apps.webhook_endpoint_disabled.v1"


@dataclass(frozen=True)
class Kept:
    """A record as a consumer gets it."""

    envelope: Envelope
    topic: str = APPS_EVENTS
    partition: int = 0
    offset: int = 0
    headers: list[tuple[str, bytes]] = field(init=False)
    key: bytes = field(init=False)
    value: bytes = field(init=False)

    def __post_init__(self) -> None:
        headers = [(name, value.encode()) for name, value in self.envelope.headers().items()]
        object.__setattr__(self, "headers", headers)
        object.__setattr__(self, "key", (self.envelope.key or "").encode())
        object.__setattr__(self, "value", self.envelope.data)


def example(wire_type: str, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / f"{wire_type}.json").read_text())[number]
    return found


def message(wire_type: str, body: Any = None, **changes: Any) -> Envelope:
    body = body or example(wire_type)
    told = Envelope(
        id="msg_1",
        type=wire_type,
        source="/services/apps",
        data=json.dumps(body).encode(),
        key="whe_1",
        time=NOON,
        merchant_id="mer_1",
        environment="test",
        actor="system:webhooks",
    )
    return replace(told, **changes)


def told(wire_type: str, body: Any = None, topic: str = APPS_EVENTS, **changes: Any) -> PublicEvent:
    [event] = events_in(Kept(message(wire_type, body, **changes), topic))
    return event


def test_what_a_service_tells_is_told_as_it_wrote_it() -> None:
    body = example(DISABLED)
    endpoint = body["webhook_endpoint"]
    endpoint["field_of_tomorrow"] = 7
    endpoint["no_number"] = body["no_number"] = float("nan")
    event = told(DISABLED, body, key=endpoint["webhook_endpoint_id"])
    shown = json.loads(event.body())
    endpoint["no_number"] = None
    assert shown == {
        "event_id": event.event_id,
        "type": "webhook_endpoint.disabled",
        "created_at": "2026-11-21T12:00:00.123456Z",
        "merchant_id": "mer_1",
        "environment": "test",
        "subject": {"type": "webhook_endpoint", "id": endpoint["webhook_endpoint_id"]},
        "order_id": None,
        "order_version": None,
        "actor": {"type": "system", "id": "webhooks"},
        "cause": None,
        "data": {
            "change": {"type": "webhook_endpoint_disabled", "no_number": None},
            "order": None,
            "webhook_endpoint": endpoint,
        },
    }
    assert public_events.PublicEvent.model_validate(shown).model_dump(mode="json") == shown
    assert event.key == endpoint["webhook_endpoint_id"]
    window = created_in(event.event_id)
    assert window is not None
    assert window[0] <= event.created_at < window[1]


def test_the_same_message_gives_the_same_event_and_any_other_gives_another() -> None:
    ids = {
        told(DISABLED, **changes).event_id
        for changes in ({}, {}, {"id": "msg_2"}, {"source": "/services/payments"}, {"environment": "live"})
    }
    assert len(ids) == 4


def test_an_update_says_what_it_was_before() -> None:
    event = told("apps.install_permissions_updated.v1")
    assert json.loads(event.change) == {
        "type": "install_permissions_updated",
        "scopes_before": example("apps.install_permissions_updated.v1")["scopes_before"],
    }


def test_every_type_is_told_of_something_and_what_is_said_of_channels_is_not_public() -> None:
    assert {kind.event_type for kind in KINDS.values()} | set(FAMILIES["order"].types) == set(EVENT_TYPES)
    sent = {each.wire_type for topic in (APPS_EVENTS, PAYMENTS_EVENTS) for each in MESSAGES_BY_TOPIC[topic]}
    assert sent - set(KINDS) == {"payments.channel_event_applied.v1", "payments.channel_event_refused.v1"}
    assert set(KINDS) <= sent
    assert {ORDERS_EVENTS, PAYMENTS_EVENTS, APPS_EVENTS} == set(TOPICS_OF_EVENTS)
    for wire_type, kind in KINDS.items():
        event = told(wire_type)
        assert event.about.type == kind.subject
        assert (event.type in TYPES_OF_ONE_APP) == wire_type.startswith("apps.")


@pytest.mark.parametrize("wire_type", [name for name in KINDS if name.startswith("payments.")])
def test_what_payments_tell_is_carried_with_the_order_that_it_concerns(wire_type: str) -> None:
    body = example(wire_type)
    [(name, subject)] = body.items()
    about = {"type": name, "id": subject[f"{name}_id"]}
    changes = {"key": "ord_1", "actor": "channel:chn_web", "source": "/services/payments", "causation_id": "cev_1"}
    event = told(wire_type, body, topic=PAYMENTS_EVENTS, **changes)
    shown = json.loads(event.body())
    assert shown["type"].replace(".", "_") == wire_type.removeprefix("payments.").removesuffix(".v1")
    assert shown["subject"] == about
    assert (shown["order_id"], shown["order_version"], event.key) == ("ord_1", None, "ord_1")
    change = {"type": shown["type"].replace(".", "_")}
    assert shown["data"] == {"change": change, "order": None, name: subject}
    assert shown["actor"] == {"type": "channel", "id": "chn_web"}
    assert shown["cause"] == {"type": "message", "id": "cev_1"}
    assert public_events.PublicEvent.model_validate(shown).model_dump(mode="json") == shown
    of_no_order = told(wire_type, body, topic=PAYMENTS_EVENTS, key=about["id"])
    assert (of_no_order.order_id, of_no_order.key) == (None, about["id"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": b"{"}, "INVALID_BODY"),
        ({"data": b"[]"}, "INVALID_BODY"),
        ({"data": b'{"webhook_endpoint": {}}'}, "INVALID_BODY"),
        ({"data": b'{"webhook_endpoint": null}'}, "INVALID_BODY"),
        ({"time": None}, "MISSING_ATTRIBUTE"),
        ({"time": datetime.max.replace(tzinfo=UTC)}, "INVALID_ATTRIBUTE"),
        ({"time": datetime(1969, 12, 31, tzinfo=UTC)}, "INVALID_ATTRIBUTE"),
        ({"merchant_id": None}, "MISSING_TENANT"),
        ({"environment": "staging"}, "MISSING_TENANT"),
    ],
)
def test_what_means_nothing_is_poison(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Poison) as poison:
        events_in(Kept(message(DISABLED, **changes)))
    assert poison.value.reason == reason


@pytest.mark.parametrize(("year", "counts"), [(1, False), (1969, False), (1970, True), (2999, True), (3000, False)])
def test_a_version_was_recorded_when_something_can_happen_for_every_service(year: int, counts: bool) -> None:
    """What one of them takes, no other one refuses."""
    version = version_of(("mer_1", "test"), "ord_1", 1)
    body = json.loads(version.data) | {"recorded_at": f"{year:04}-12-31T23:59:59.999999Z"}
    record = Kept(replace(version, data=json.dumps(body).encode()), topic=ORDERS_EVENTS)
    for read in (events_in, _version_in):
        if counts:
            assert read(record)
            continue
        with pytest.raises(Poison) as poison:
            read(record)
        assert poison.value.reason == "INVALID_BODY"


def test_what_the_public_is_not_told_is_passed_over() -> None:
    assert events_in(Kept(message("payments.channel_event_applied.v1"), topic=PAYMENTS_EVENTS)) == ()
    assert events_in(Kept(message("apps.something_new.v1", {"any": "thing"}))) == ()


ALL = frozenset({"orders.read", "payments.read", "apps.read", "webhooks.read"})


@pytest.mark.parametrize(
    ("reader", "event_type", "grant_id", "is_told"),
    [
        (Reader(ALL), "order.paid", None, True),
        (Reader(ALL), "partner_app.install.created", "grt_1", True),
        (Reader(ALL), "webhook_endpoint.disabled", "grt_1", True),
        (Reader(ALL), "webhook_endpoint.disabled", None, True),
        (Reader({"orders.read"}), "webhook_endpoint.disabled", None, False),
        (Reader({"orders.read", "apps.write"}), "partner_app.install.created", "grt_1", True),
        (Reader({"orders.read", "apps.write"}), "webhook_endpoint.disabled", "grt_1", False),
        (Reader(ALL - {"orders.read"}), "webhook_endpoint.disabled", None, False),
        (Reader(ALL), "nothing.known", None, False),
        (Reader(ALL), "payment_intent.succeeded", None, True),
        (Reader({"orders.read", "payments.write"}), "unmatched_money.found", None, True),
        (Reader({"orders.read"}), "payment_intent.succeeded", None, False),
        (Reader({"orders.read"}), "unmatched_money.found", None, False),
        (Reader(ALL - {"orders.read"}), "payment_intent.succeeded", None, False),
        (Reader({"orders.read", "payments.read"}, "grt_1"), "payment_intent.failed", None, True),
        (Reader({"orders.read", "payments.read"}, "grt_1"), "unmatched_money.attached", None, True),
        (Reader({"orders.read"}, "grt_1"), "payment_intent.failed", None, False),
        (Reader({"orders.read"}, "grt_1"), "unmatched_money.attached", None, False),
        (Reader({"orders.read"}, "grt_1"), "order.paid", None, True),
        (Reader({"orders.read"}, "grt_1"), "partner_app.install.created", "grt_1", True),
        (Reader({"orders.read"}, "grt_1"), "webhook_endpoint.disabled", "grt_1", True),
        (Reader(ALL, "grt_1"), "partner_app.install.created", "grt_2", False),
        (Reader(ALL, "grt_1"), "webhook_endpoint.disabled", "grt_2", False),
        (Reader(ALL, "grt_1"), "webhook_endpoint.disabled", None, False),
        (Reader(set(), "grt_1"), "partner_app.install.created", "grt_1", False),
    ],
)
def test_a_merchant_is_told_of_all_that_is_its_own_and_an_app_of_itself(
    reader: Reader, event_type: str, grant_id: str | None, is_told: bool
) -> None:
    assert reader.is_told(event_type, grant_id) is is_told
    if not is_told and (grant_id == reader.grant_id or event_type not in TYPES_OF_ONE_APP):
        assert event_type in (*reader.hidden_types(), "nothing.known")


def test_an_apps_topic_tells_of_orders_of_payments_that_it_may_read_and_of_itself() -> None:
    order = replace(told(DISABLED), type="order.paid", order_id="ord_1", subject=None)
    own, others, merchants = (replace(told(DISABLED), grant_id=grant_id) for grant_id in ("grt_1", "grt_2", None))
    paid = told("payments.payment_intent_succeeded.v1", topic=PAYMENTS_EVENTS, key="ord_1")
    apps = [
        ("app_1", Reader({"orders.read"}, "grt_1")),
        ("app_2", Reader({"orders.read", "payments.read"}, "grt_2")),
    ]
    published = publications([order, own, others, merchants, paid], {("mer_1", "test"): apps})
    assert [(each.app_ids, each.event) for each in published] == [
        (("app_1", "app_2"), order),
        (("app_1",), own),
        (("app_2",), others),
        (("app_2",), paid),
    ]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_sample_is_about_what_its_type_is_about(event_type: str) -> None:
    event = sample_event("evt_1", event_type, "mer_1", "test", NOON)
    shown = json.loads(event.body())
    public_events.PublicEvent.model_validate(shown)
    kinds = {kind.event_type: kind for kind in KINDS.values()}
    if event_type in kinds:
        kind = kinds[event_type]
        assert shown["subject"]["type"] == kind.subject
        subject = shown["data"][kind.subject]
        kind.message.model_validate({kind.subject: subject, "scopes_before": []})
        assert shown["order_id"] == subject.get("order_id")
    else:
        assert shown["subject"] == {"type": "order", "id": shown["data"]["order"]["order_id"]}
