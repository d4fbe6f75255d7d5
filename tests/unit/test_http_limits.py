"""How many requests one caller may send, what it is told of that, and what is forgotten."""

from types import SimpleNamespace
from typing import Any

import pytest

from shared.auth.access import Access
from shared.http import limits as limits_module
from shared.http.limits import Buckets, Limiter, limit_headers, network_of, unbelieved_proxy
from shared.http.problems import Problem
from shared.settings import UNLIMITED, RateLimits

START = 1_000_000.0


class Timer:
    now = START

    def __call__(self) -> float:
        return self.now


def access(credential: str = "a", merchant_id: str | None = "mer_1", **fields: Any) -> Access:
    given = {"kind": "api_key", "environment": "test", "scopes": frozenset[str]()} | fields
    return Access(grant_id=credential, credential_hash=credential, merchant_id=merchant_id, **given)


def scope(host: str = "10.0.0.1", *forwarded_for: str) -> Any:
    headers = [(b"host", b"api.example"), *((b"x-forwarded-for", each.encode()) for each in forwarded_for)]
    return {"state": {}, "client": (host, 1234), "headers": headers}


def limiter(timer: Timer, **limits: float) -> Limiter:
    return Limiter("orders", RateLimits.model_validate(UNLIMITED.model_dump() | limits), timer)


def refusal(limits: Limiter, caller: Access, asked: Any = None) -> Problem | None:
    try:
        limits.admit(asked or scope(), caller)
    except Problem as problem:
        return problem
    return None


def told(asked: Any) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in limit_headers(asked, [])}


@pytest.mark.parametrize(("per_s", "burst"), [(100, 300), (0.1, 1), (3, 7), (1000 / 7, 1)])
def test_a_bucket_gives_its_burst_and_then_its_rate(per_s: float, burst: int) -> None:
    buckets, now = Buckets("credential", per_s, burst), START
    for _ in range(burst):
        assert buckets.wait_s("a", now) == 0
        buckets.take("a", now)
    assert buckets.wait_s("a", now) == pytest.approx(1 / per_s, abs=1e-6)
    taken = 0
    for _ in range(1000):
        now += 0.1 / per_s
        if buckets.wait_s("a", now) == 0:
            buckets.take("a", now)
            taken += 1
    assert taken == 100


def test_a_bucket_that_was_left_alone_is_full_and_no_fuller() -> None:
    buckets = Buckets("credential", 10, 20)
    for _ in range(20):
        buckets.take("a", START)
    assert buckets.left("a", START) == '"credential";r=0;t=1'
    assert buckets.left("a", START + 1) == '"credential";r=10;t=1'
    later = START + 1_000
    assert buckets.left("a", later) == '"credential";r=20;t=1'
    for _ in range(20):
        assert buckets.wait_s("a", later) == 0
        buckets.take("a", later)
    assert buckets.wait_s("a", later) > 0


def test_buckets_are_bounded_and_the_one_used_last_stays() -> None:
    buckets = Buckets("address", 1, 2, largest=3)
    for key in ("a", "b", "c", "a", "d"):
        buckets.take(key, START)
    assert len(buckets) == 3
    assert [buckets.left(key, START).split(";")[1] for key in "abcd"] == ["r=0", "r=2", "r=1", "r=1"]


def test_whoever_has_none_left_is_told_when_to_come_again() -> None:
    timer = Timer()
    limits, asked = limiter(timer, api_key_per_s=0.2, api_key_burst=2), scope()
    assert [refusal(limits, access()) for _ in range(2)] == [None, None]
    timer.now += 1.5
    problem = refusal(limits, access(), asked)
    assert problem is not None
    assert (problem.code, problem.status, problem.headers) == ("RATE_LIMITED", 429, {"Retry-After": "4"})
    assert told(asked) == {"ratelimit-policy": '"credential";q=2;w=10', "ratelimit": '"credential";r=0;t=4'}
    timer.now += 4
    assert refusal(limits, access()) is None


def test_every_answer_says_what_is_left_of_both() -> None:
    limits, asked = limiter(Timer(), api_key_per_s=10, api_key_burst=30, merchant_per_s=20, merchant_burst=90), scope()
    limits.admit(asked, access())
    assert told(asked) == {
        "ratelimit-policy": '"credential";q=30;w=3, "merchant";q=90;w=5',
        "ratelimit": '"credential";r=29;t=1, "merchant";r=89;t=1',
    }


def test_many_keys_of_a_merchant_share_its_bucket_and_leave_others_theirs() -> None:
    limits = limiter(Timer(), api_key_per_s=1, api_key_burst=2, merchant_per_s=1, merchant_burst=5)
    keys = [access(credential) for credential in "abcdef"]
    assert [refusal(limits, key) is None for key in keys] == [True] * 5 + [False]
    assert refusal(limits, access("g", environment="live")) is None
    assert refusal(limits, access("h", "mer_2")) is None


def test_a_refusal_takes_nothing() -> None:
    timer = Timer()
    limits = limiter(timer, api_key_per_s=1, api_key_burst=3, merchant_per_s=1, merchant_burst=1)
    for _ in range(10):
        refusal(limits, access())
    asked = scope()
    timer.now += 1
    limits.admit(asked, access())
    assert told(asked)["ratelimit"] == '"credential";r=2;t=1, "merchant";r=0;t=1'


@pytest.mark.parametrize("kind", ["api_key", "installation", "platform"])
def test_each_kind_of_credential_has_its_own_limit(kind: str) -> None:
    limits = limiter(Timer(), **{f"{kind}_per_s": 1, f"{kind}_burst": 1})
    for other in {"api_key", "installation", "platform"} - {kind}:
        assert [refusal(limits, access(kind=other)) for _ in range(50)] == [None] * 50
    assert refusal(limits, access(kind=kind)) is None
    assert refusal(limits, access(kind=kind)) is not None


def test_a_platform_has_no_merchant_to_share_with() -> None:
    limits = limiter(Timer(), merchant_per_s=1, merchant_burst=1)
    assert [refusal(limits, access(merchant_id=None, kind="platform")) for _ in range(5)] == [None] * 5


def test_without_limits_nothing_is_kept_or_said() -> None:
    limits, asked = limiter(Timer()), scope()
    for _ in range(1000):
        limits.admit(asked, access())
        limits.count_stranger(asked)
        limits.refuse_guessing(asked)
    assert told(asked) == {}


def test_who_guesses_too_often_may_not_guess_on() -> None:
    timer = Timer()
    limits = limiter(timer, address_per_s=1, address_burst=3)
    for _ in range(3):
        limits.refuse_guessing(scope())
        limits.count_stranger(scope())
    for step in (limits.refuse_guessing, limits.count_stranger):
        with pytest.raises(Problem, match="address"):
            step(scope())
        step(scope("10.0.0.2"))
    assert refusal(limits, access()) is None
    timer.now += 1
    limits.refuse_guessing(scope())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("a-socket", "another", False),
    ],
)
def test_an_address_is_whose_it_is(one: str, other: str, same: bool) -> None:
    assert (network_of(scope(one)) == network_of(scope(other))) is same


def test_who_comes_without_an_address_is_one_stranger() -> None:
    nobody: Any = {"state": {}, "client": None, "headers": [(b"x-forwarded-for", b"192.0.2.1")]}
    assert network_of(nobody) == ""
    assert unbelieved_proxy(nobody) is None


def test_a_proxy_that_is_not_believed_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    log = SimpleNamespace(warning=lambda event, **facts: told.append((event, facts)))
    monkeypatch.setattr(limits_module, "_log", log)
    limits = limiter(Timer(), address_per_s=1, address_burst=100)
    limits.count_stranger(scope())
    # Uvicorn has believed it: the address is the client's.
    limits.count_stranger(scope("192.0.2.1", "192.0.2.1"))
    limits.count_stranger(scope("192.0.2.1", "198.51.100.7, 192.0.2.1"))
    assert told == []
    for _ in range(3):
        limits.count_stranger(scope("10.0.0.1", "192.0.2.1"))
    [(event, facts)] = told
    assert (event, facts["address"], facts["remedy"]) == ("proxy_not_believed", "10.0.0.1", "FORWARDED_ALLOW_IPS")
