"""When a webhook is sent again, and what failures lead to."""

from datetime import UTC, datetime, timedelta

import pytest

from services.apps.core.event_types import Reader, common_scopes, told_beyond
from services.apps.core.webhooks import (
    DISABLED_AFTER,
    WAITS,
    Attempt,
    Fate,
    Health,
    asks_for,
    disabled_by,
    error_of,
    fate_of,
    health_after,
)

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
REFUSED = Attempt(NOON, 0, 500, "refused")


def asking(retry_after: str) -> Attempt:
    return Attempt(NOON, 0, 503, "refused", retry_after)


def test_the_schedule_is_the_one_that_the_standard_recommends() -> None:
    assert [wait.total_seconds() for wait in WAITS] == [
        5,
        5 * 60,
        30 * 60,
        2 * 3600,
        5 * 3600,
        10 * 3600,
        14 * 3600,
        20 * 3600,
        24 * 3600,
    ]
    assert timedelta(days=3) < sum(WAITS, timedelta()) < timedelta(days=3, hours=4)


@pytest.mark.parametrize("tries", range(1, len(WAITS) + 1))
def test_each_failure_is_followed_by_a_longer_wait_give_or_take_a_tenth(tries: int) -> None:
    wait = WAITS[tries - 1]
    for draw, share in ((0.0, 0.9), (0.5, 1.0), (1.0, 1.1)):
        assert fate_of(REFUSED, tries, draw) == Fate("pending", NOON + wait * share)


def test_the_wait_begins_when_the_outcome_is_known() -> None:
    slow = Attempt(NOON, 15_000, None, "timeout")
    assert fate_of(slow, 1, 0.5).due_at == NOON + 20 * SECOND


def test_the_tenth_failure_is_the_last() -> None:
    assert fate_of(REFUSED, 10, 0.5).status == "failed"
    assert fate_of(Attempt(NOON, 0, 200, None), 10, 0.5).status == "delivered"


def test_what_is_gone_or_no_longer_kept_is_not_tried_again() -> None:
    assert fate_of(Attempt(NOON, 0, 410, "gone"), 1, 0.5).status == "failed"
    assert fate_of(Attempt(NOON, 0, None, "expired"), 1, 0.5).status == "failed"


@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        ("60", 60),
        (" 60 ", 60),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("Sat, 21 Nov 2026 12:10:00 GMT", 600),
        ("Sat, 21 Nov 2026 12:10:00", 600),
        ("Sat, 21 Nov 2999 12:10:00 GMT", 3600),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 5),
        ("0", 5),
        ("2", 5),
        ("-60", 5),
        ("", 5),
        ("soon", 5),
        ("٣٦٠٠", 5),
        ("1e9", 5),
    ],
)
def test_what_the_receiver_asks_for_counts_up_to_an_hour_and_never_shortens_the_wait(
    retry_after: str, wait_s: int
) -> None:
    assert fate_of(asking(retry_after), 1, 0.5).due_at - NOON == wait_s * SECOND


def test_an_endpoint_that_fails_is_left_alone_longer_and_longer() -> None:
    health, pauses = Health(), []
    for _ in range(16):
        health = health_after(health, REFUSED, 0.5)
        pauses.append((health.paused_until - NOON).total_seconds() if health.paused_until else 0)
    assert pauses == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert (health.failures, health.failing_since) == (16, NOON)
    assert health_after(health, Attempt(NOON, 0, 204, None), 0.5) == Health()


def test_one_that_asks_for_it_is_left_alone_at_once() -> None:
    assert health_after(Health(), asking("60"), 0.5).paused_until == NOON + 60 * SECOND


def test_an_event_that_is_no_longer_kept_says_nothing_about_the_endpoint() -> None:
    assert health_after(Health(), Attempt(NOON, 0, None, "expired"), 0.5) == Health()


def test_nothing_succeeded_for_three_days_and_it_is_disabled() -> None:
    def after(since: timedelta) -> str | None:
        return disabled_by(Health(7, NOON - since), REFUSED)

    assert after(DISABLED_AFTER - SECOND) is None
    assert after(DISABLED_AFTER) == "failing"
    assert disabled_by(Health(1, NOON), Attempt(NOON, 0, 410, "gone")) == "gone"
    assert disabled_by(Health(), Attempt(NOON, 0, 200, None)) is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (204, None),
        (299, None),
        (301, "redirected"),
        (307, "redirected"),
        (304, "redirected"),
        (400, "refused"),
        (410, "gone"),
        (500, "refused"),
        (999, "refused"),
    ],
)
def test_only_2xx_means_received(status: int, error: str | None) -> None:
    assert error_of(status) == error


def test_an_endpoint_asks_by_patterns_and_only_for_what_it_may_know() -> None:
    merchant = Reader({"orders.read"})
    assert asks_for(["order.paid"], merchant, "order.paid", None)
    assert asks_for(["order.created", "order.*"], Reader({"orders.write"}), "order.paid", None)
    assert not asks_for(["order.created"], merchant, "order.paid", None)
    assert not asks_for([], merchant, "order.paid", None)
    assert not asks_for(["*"], Reader({"payments.write"}), "order.paid", None)
    assert not asks_for(["*"], merchant, "webhook_endpoint.disabled", None)
    assert asks_for(["*"], Reader({"orders.read"}, "grt_1"), "webhook_endpoint.disabled", "grt_1")


def test_what_we_cannot_sign_is_tried_again_and_not_the_receivers_fault() -> None:
    unsigned = Attempt(NOON, 0, None, "secret_unreadable")
    assert fate_of(unsigned, 1, 0.5) == Fate("pending", NOON + WAITS[0])
    assert fate_of(unsigned, len(WAITS) + 1, 0.5).status == "failed"
    failing = Health(4, NOON - DISABLED_AFTER, None)
    assert health_after(failing, unsigned, 0.5) == failing
    assert disabled_by(failing, unsigned) is None


@pytest.mark.parametrize(
    ("scopes", "own", "beyond", "common"),
    [
        (["orders.read"], ["orders.read", "customers.read"], [], ["orders.read"]),
        (["orders.read", "customers.read"], ["orders.write"], ["customers.read"], ["orders.read"]),
        (["orders.write", "keys.write"], ["orders.read"], [], ["orders.read"]),
        (["orders.write", "payments.write"], ["orders.write"], ["payments.read"], ["orders.write"]),
        (["orders.read", "webhooks.write"], ["webhooks.read"], ["orders.read"], ["webhooks.read"]),
    ],
)
def test_what_two_may_do(scopes: list[str], own: list[str], beyond: list[str], common: list[str]) -> None:
    assert told_beyond(scopes, own) == beyond
    assert common_scopes(scopes, own) == common
