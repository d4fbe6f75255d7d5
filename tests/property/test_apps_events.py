"""Public events, whatever the versions: the same on every reading, told apart, and in order per order."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.apps.core.event_types import EVENT_TYPES, Reader
from services.apps.core.events import Happened, Origin, Version, created_in, public_events
from services.apps.core.plugin_topics import publications
from shared.contracts.orders import EVENTS
from shared.immutable import replace

WIRE_TYPES = st.sampled_from([*EVENTS, "orders.not_known_yet.v1"])
IDS = st.text("ABCXYZ019_-", min_size=1, max_size=6)
DATA = st.dictionaries(
    st.sampled_from(["amount_minor", "payment_id", "text", "tender", "lease_ids", "charging"]),
    st.none() | st.booleans() | st.integers(0, 10**12) | st.text(max_size=8) | st.lists(IDS, max_size=2),
    max_size=3,
)
VERSIONS = st.builds(
    Version,
    order_id=IDS.map("ord_{}".format),
    version=st.integers(1, 2**31 - 1),
    merchant_id=IDS.map("mer_{}".format),
    environment=st.sampled_from(["test", "live"]),
    recorded_at=st.integers(0, 10**16).map(lambda number: datetime.fromtimestamp(number / 10**6, UTC)),
    currency=st.sampled_from(["EUR", "JPY"]),
    actor=st.builds(Origin, type=st.just("key"), id=IDS),
    cause=st.none() | st.builds(Origin, type=st.just("command"), id=st.text(max_size=20)),
    happened=st.lists(st.builds(Happened, type=WIRE_TYPES, data=DATA), min_size=1, max_size=6).map(tuple),
    order=st.just(b'{"order_id":"ord_1"}'),
    customer=st.none() | st.just(b'{"name":"Ada"}'),
)


def _named(version: Version) -> tuple[str, str, str, int]:
    return version.merchant_id, version.environment, version.order_id, version.version


@given(VERSIONS)
def test_a_version_is_told_alike_whenever_it_is_read(version: Version) -> None:
    events = public_events(version)
    again = public_events(version)
    assert events == again
    assert [event.body() for event in events] == [event.body() for event in again]
    assert len(events) >= len(version.happened)
    for event in events:
        assert event.type in EVENT_TYPES
        window = created_in(event.event_id)
        assert window is not None
        assert window[0] <= event.created_at < window[1]


@given(VERSIONS)
def test_a_body_is_json_that_says_what_the_event_is(version: Version) -> None:
    for event in public_events(version):
        whole, plain = json.loads(event.body()), json.loads(event.body(["orders.read"]))
        assert (whole["event_id"], whole["type"]) == (event.event_id, event.type)
        assert whole["data"]["order"].pop("customer", None) == (
            json.loads(version.customer) if version.customer else None
        )
        assert whole == plain
        assert not any(name.endswith("_minor") for name in whole["data"]["change"])


@given(st.lists(VERSIONS, min_size=1, max_size=8, unique_by=_named))
def test_no_two_events_share_an_id(versions: list[Version]) -> None:
    ids = [event.event_id for version in versions for event in public_events(version)]
    assert len(set(ids)) == len(ids)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["mer_1", "mer_2"])), max_size=12), VERSIONS)
def test_an_app_gets_its_merchants_events_in_the_order_in_which_they_happened(
    told: list[tuple[str, str]], template: Version
) -> None:
    events = [
        event
        for number, (order, merchant) in enumerate(told, 1)
        for event in public_events(
            replace(template, order_id=f"ord_{order}", merchant_id=merchant, version=number, environment="test")
        )
    ]
    scopes = {
        "app_1": frozenset({"orders.read"}),
        "app_2": frozenset({"orders.read", "customers.read"}),
        "app_3": frozenset({"orders.read", "payments.read"}),
    }
    readers = [(app, Reader(may, f"grt_of_{app}")) for app, may in scopes.items()]
    published = publications(events, {("mer_1", "test"): readers})
    for app, may in scopes.items():
        mine = [(each.event, each.body) for each in published if app in each.app_ids]
        assert mine == [(event, event.body(may)) for event in events if event.merchant_id == "mer_1"]
    together = ("app_1", "app_3") if template.customer else ("app_1", "app_2", "app_3")
    assert all(each.app_ids in (together, ("app_2",)) for each in published)
