"""What a key is worth, what every service is told of it, and what it may pass on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.apps.core.audit import By, changes_between
from services.apps.core.keys import ApiKey, Secret, earliest, grant_of, missing, outlives, rotated
from services.apps.core.merchants import MerchantStatus, may_become
from shared.conditions import value, where
from shared.contracts.access import SCOPES
from shared.contracts.model import Actor
from shared.immutable import replace

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
SOON, LATER = NOW + timedelta(hours=1), NOW + timedelta(days=1)
KEY = ApiKey("key_1", "api_key", "mer_1", "test", "Shop", ("orders.write",), ("https://a.example",), "tl_test_ab", NOW)
SECRET = Secret("ab" * 32, "key_1", NOW)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "active"),
        ({"expires_at": SOON}, "active"),
        ({"expires_at": NOW}, "expired"),
        ({"revoked_at": NOW}, "revoked"),
        ({"revoked_at": NOW, "expires_at": NOW}, "revoked"),
    ],
)
def test_a_key_is_active_until_it_is_revoked_or_over(fields: dict[str, Any], status: str) -> None:
    assert replace(KEY, **fields).status(NOW) == status


def test_a_grant_says_what_the_key_may_under_this_secret() -> None:
    grant = grant_of(KEY, SECRET, merchant_active=True)
    assert grant.model_dump(mode="json") == {
        "grant_id": "key_1",
        "credential_hash": "ab" * 32,
        "kind": "api_key",
        "merchant_id": "mer_1",
        "environment": "test",
        "scopes": ["orders.write"],
        "status": "active",
        "name": "Shop",
        "expires_at": None,
        "allowed_origins": ["https://a.example"],
    }


@pytest.mark.parametrize(
    ("revoked_at", "merchant_active", "status"),
    [(None, True, "active"), (NOW, True, "revoked"), (None, False, "revoked"), (NOW, False, "revoked")],
)
def test_a_grant_holds_only_of_a_key_that_does_and_an_active_merchant(
    revoked_at: datetime | None, merchant_active: bool, status: str
) -> None:
    assert grant_of(replace(KEY, revoked_at=revoked_at), SECRET, merchant_active=merchant_active).status == status


@pytest.mark.parametrize(
    ("expires_at", "ends_at", "ends"),
    [(None, None, None), (SOON, None, SOON), (None, SOON, SOON), (LATER, SOON, SOON), (SOON, LATER, SOON)],
)
def test_a_grant_ends_with_the_key_or_the_secret(
    expires_at: datetime | None, ends_at: datetime | None, ends: datetime | None
) -> None:
    grant = grant_of(replace(KEY, expires_at=expires_at), replace(SECRET, ends_at=ends_at), merchant_active=True)
    assert grant.expires_at == ends


def test_an_overlap_never_makes_a_secret_live_longer() -> None:
    assert rotated(SECRET, SOON).ends_at == SOON
    assert rotated(rotated(SECRET, SOON), LATER).ends_at == SOON
    assert rotated(rotated(SECRET, LATER), SOON).ends_at == SOON


@pytest.mark.parametrize(
    ("ends", "other", "is_so"),
    [(None, None, False), (SOON, None, False), (None, SOON, True), (SOON, SOON, False), (LATER, SOON, True)],
)
def test_what_never_ends_outlives_everything_that_does(
    ends: datetime | None, other: datetime | None, is_so: bool
) -> None:
    assert outlives(ends, other) is is_so


def test_the_earliest_moment_counts() -> None:
    assert earliest() is None
    assert earliest(None, LATER, None, SOON) == SOON


@pytest.mark.parametrize(
    ("wanted", "held", "lacking"),
    [
        (["orders.read"], ["orders.read"], []),
        (["orders.read"], ["orders.write"], []),
        (["orders.write"], ["orders.read"], ["orders.write"]),
        (["orders.read", "refunds.write", "apps.read"], ["orders.write"], ["refunds.write", "apps.read"]),
        (SCOPES, SCOPES, []),
        (["keys.write"], [], ["keys.write"]),
    ],
)
def test_who_may_write_may_give_reading_and_nobody_gives_what_it_lacks(
    wanted: list[str], held: list[str], lacking: list[str]
) -> None:
    assert missing(wanted, held) == lacking


@pytest.mark.parametrize(
    ("before", "after", "may"),
    [
        ("active", "suspended", True),
        ("suspended", "active", True),
        ("suspended", "closed", True),
        ("closed", "closed", True),
        ("closed", "active", False),
        ("closed", "suspended", False),
    ],
)
def test_closing_is_for_good(before: MerchantStatus, after: MerchantStatus, may: bool) -> None:
    assert may_become(before, after) is may


def test_only_what_differs_is_a_change() -> None:
    before = {"name": "A", "country": "DE", "tags": ["x"]}
    after = {"name": "B", "country": "DE", "tags": ["x"], "zone": None, "currency": "EUR"}
    assert changes_between(before, after) == {
        "name": {"from": "A", "to": "B"},
        "currency": {"from": None, "to": "EUR"},
    }


def test_an_entry_says_who_did_what_in_which_request() -> None:
    by = By(Actor(type="key", id="key_1"), NOW, "req_1")
    entry = by.did("api_key.revoked", "key_2", merchant_id="mer_1", environment="test")
    assert (entry.at, entry.actor, entry.request_id) == (NOW, by.actor, "req_1")
    assert (entry.action, entry.target_id, entry.merchant_id, entry.environment) == (
        "api_key.revoked",
        "key_2",
        "mer_1",
        "test",
    )
    assert entry.changes == {}


def test_conditions_that_were_not_asked_for_are_left_out() -> None:
    assert where([("a = {}", value(None))]) == ("true", [])
    assert where([("a = {}", value(1)), ("b = {}", value(None)), ("(c, d) < ({}, {})", (2, 3))]) == (
        "a = $1 AND (c, d) < ($2, $3)",
        [1, 2, 3],
    )
