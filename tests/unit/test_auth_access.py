"""What a grant allows, until when, and what the memory of it keeps."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.auth.access import Access, KnownGrant
from shared.auth.cache import KNOWN_S, UNKNOWN_S, GrantCache
from shared.auth.tail import decode
from shared.contracts.access import Grant, GrantKind
from shared.contracts.model import Actor

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)


def access(kind: GrantKind = "api_key", expires_at: datetime | None = None) -> Access:
    scopes = frozenset(("orders.write", "payments.read"))
    return Access("key_1", "ab" * 32, kind, "mer_1", "test", scopes, expires_at=expires_at)


@pytest.mark.parametrize(
    ("scope", "has"),
    [
        ("orders.write", True),
        ("orders.read", True),
        ("payments.read", True),
        ("payments.write", False),
        ("refunds.read", False),
        ("orders", False),
    ],
)
def test_whoever_may_write_may_read(scope: str, has: bool) -> None:
    assert access().has(scope) is has


@pytest.mark.parametrize(("kind", "type_"), [("api_key", "key"), ("installation", "app"), ("platform", "platform")])
def test_the_actor_is_the_grant(kind: GrantKind, type_: str) -> None:
    assert access(kind).actor == Actor(type=type_, id="key_1")


def test_a_grant_ends_when_it_is_revoked_or_over() -> None:
    ends = NOW + timedelta(hours=1)
    ending = access(expires_at=ends)
    assert KnownGrant(ending, active=True).at(NOW) == ending
    assert KnownGrant(ending, active=True).at(ends) is None
    assert KnownGrant(access(), active=True).at(ends) == access()
    assert KnownGrant(access(), active=False).at(NOW) is None


class Timer:
    now = 0.0

    def __call__(self) -> float:
        return self.now


KNOWN = KnownGrant(access(), active=True)


def test_the_cache_keeps_known_grants_longer_than_unknown_ones() -> None:
    timer = Timer()
    cache = GrantCache(timer)
    cache.put("known", KNOWN, cache.generation)
    cache.put("unknown", None, cache.generation)
    assert cache.get("known") == (True, KNOWN)
    assert cache.get("unknown") == (True, None)
    timer.now = UNKNOWN_S
    assert cache.get("unknown") == (False, None)
    assert cache.get("known") == (True, KNOWN)
    timer.now = KNOWN_S
    assert cache.get("known") == (False, None)


def test_what_was_read_before_a_change_is_not_kept_after_it() -> None:
    cache = GrantCache()
    before = cache.generation
    cache.drop({"known"})
    cache.put("known", KNOWN, before)
    assert cache.get("known") == (False, None)


def test_the_cache_is_bounded() -> None:
    cache = GrantCache(largest=3)
    for number in range(5):
        cache.put(str(number), KNOWN, cache.generation)
    assert [cache.get(str(number))[0] for number in range(5)] == [False, False, True, True, True]


def test_a_change_that_could_not_be_saved_is_remembered_until_it_is() -> None:
    cache = GrantCache()
    cache.mark_unsaved({"known"})
    assert cache.is_unsaved("known")
    cache.mark_saved({"known"})
    assert not cache.is_unsaved("known")


GRANT = Grant(
    grant_id="key_1", credential_hash="ab" * 32, kind="api_key", merchant_id="mer_1", environment="test", scopes=()
)
VALUE = GRANT.model_dump_json().encode()


def test_a_record_is_a_grant_or_the_end_of_one() -> None:
    record = decode(b"ab" * 32, VALUE, 0, 7)
    assert record is not None
    assert (record.grant, record.offset) == (GRANT, 7)
    tombstone = decode(b"ab" * 32, None, 0, 8)
    assert tombstone is not None
    assert tombstone.grant is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, VALUE),
        (b"", None),
        (b"cd" * 32, VALUE),
        (b"\xff", VALUE),
        (b"ab" * 32, b"{}"),
        (b"ab" * 32, b"\xff"),
        (b"ab" * 32, b""),
        (b"a\0b", None),
    ],
)
def test_anything_else_is_none(key: bytes | None, value: bytes | None) -> None:
    assert decode(key, value, 0, 7) is None
