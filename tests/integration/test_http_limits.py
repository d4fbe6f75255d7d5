"""Limits over a real HTTP server: who has used up theirs is told so, and nobody else notices."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx2
import pytest

from shared.auth import GrantsCopy, new_api_key
from shared.postgres import Pool
from shared.settings import RateLimits, Settings
from tests.integration.test_http_access import SHOP, bearer, copy, pool, running_api

__all__ = ["copy", "pool"]
pytestmark = pytest.mark.servers

# Nothing comes back while a test runs, so that what it counts is exact.
SLOW = 0.001
LIMITS = RateLimits(
    api_key_per_s=SLOW, api_key_burst=3, merchant_per_s=SLOW, merchant_burst=5, address_per_s=SLOW, address_burst=4
)


@pytest.fixture
async def api(copy: GrantsCopy, pool: Pool) -> AsyncIterator[httpx2.AsyncClient]:
    async with running_api(copy, pool, Settings(rate_limits=LIMITS)) as client:
        yield client


async def test_each_answer_says_what_is_left_and_then_when_to_come_again(api: httpx2.AsyncClient) -> None:
    answers = [await api.get("/v1/notes/n1", headers=bearer("writer", Origin=SHOP)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {
        '"credential";q=3;w=3000, "merchant";q=5;w=5000'
    }
    left = [answer.headers["ratelimit"].replace(";t=1000", "") for answer in answers]
    assert left == [
        f'"credential";r={key}, "merchant";r={merchant}' for key, merchant in ((2, 4), (1, 3), (0, 2), (0, 2))
    ]
    refused = answers[-1]
    assert refused.json()["code"] == "RATE_LIMITED"
    assert refused.headers["content-type"] == "application/problem+json"
    assert 990 < int(refused.headers["retry-after"]) <= 1000
    assert refused.headers["access-control-allow-origin"] == SHOP
    assert "RateLimit" in refused.headers["access-control-expose-headers"]


async def test_a_merchants_keys_share_what_it_has(api: httpx2.AsyncClient) -> None:
    codes = [(await api.get("/v1/notes/n1", headers=bearer(name))).status_code for name in ("writer", "reader") * 3]
    assert codes == [200] * 5 + [429]


async def test_a_refusal_has_no_effect(api: httpx2.AsyncClient, pool: Pool) -> None:
    answers = [await api.post("/v1/notes", headers=bearer("writer"), json={"text": "a"}) for _ in range(5)]
    assert Counter(answer.status_code for answer in answers) == {201: 3, 429: 2}
    assert await pool.fetchval("SELECT count(*) FROM notes") == 3


async def test_a_missing_scope_counts_too(api: httpx2.AsyncClient) -> None:
    answers = [await api.post("/v1/notes", headers=bearer("reader"), json={"text": "a"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [403, 403, 403, 429]


@pytest.mark.parametrize("kind", ["none", "malformed", "unknown", "revoked", "over", "a token of nobody's"])
async def test_strangers_are_limited_by_address_and_known_callers_go_on(api: httpx2.AsyncClient, kind: str) -> None:
    # The first use of a key pins its version; after the second one it is in memory.
    for _ in range(2):
        assert (await api.get("/v1/notes/n1", headers=bearer("reader"))).status_code == 200

    def guess() -> dict[str, str]:
        match kind:
            case "none":
                return {}
            case "malformed":
                return {"Authorization": "Bearer tl_test_short"}
            case "unknown":
                return {"Authorization": f"Bearer {new_api_key('test')}"}
            case "revoked" | "over":
                return bearer(kind)
            case _:
                return {"Authorization": "Bearer eyJhbGciOiJFUzI1NiJ9.e30.AAAA"}

    answers = [await api.get("/v1/notes/n1", headers=guess()) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 4 + [429] * 2
    assert answers[-1].headers["ratelimit-policy"] == '"address";q=4;w=4000'
    assert int(answers[-1].headers["retry-after"]) > 990
    assert (await api.get("/v1/notes/n1", headers=bearer("reader"))).status_code == 200


async def test_after_too_many_guesses_even_a_right_one_is_not_looked_up(api: httpx2.AsyncClient) -> None:
    for _ in range(4):
        await api.get("/v1/notes/n1", headers={"Authorization": f"Bearer {new_api_key('test')}"})
    right = await api.get("/v1/notes/n1", headers=bearer("reader"))
    assert (right.status_code, right.json()["code"]) == (429, "RATE_LIMITED")


async def test_origins_that_nobody_listed_are_looked_up_a_few_times(api: httpx2.AsyncClient) -> None:
    def preflight(origin: str) -> dict[str, str]:
        return {"Origin": origin, "Access-Control-Request-Method": "POST"}

    for _ in range(10):
        assert (await api.options("/v1/notes", headers=preflight(SHOP))).status_code == 204
    codes = [(await api.options("/v1/notes", headers=preflight(f"https://{n}.example"))).status_code for n in range(6)]
    assert codes == [204] * 4 + [429] * 2


async def test_who_fails_at_an_open_route_too_often_is_refused_there(api: httpx2.AsyncClient) -> None:
    good, bad = {"json": {"text": "good"}}, {"json": {"text": "bad"}}
    for _ in range(10):
        assert (await api.post("/v1/notes/sign-in", **good)).status_code == 200
    codes = [(await api.post("/v1/notes/sign-in", **bad)).status_code for _ in range(6)]
    assert codes == [401] * 4 + [429] * 2
    refused = await api.post("/v1/notes/sign-in", **good)
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")


async def test_without_the_database_a_preflight_is_told_to_try_later(api: httpx2.AsyncClient, pool: Pool) -> None:
    await pool.close()
    headers = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
    answer = await api.options("/v1/notes", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "TRY_LATER")
    await pool.open()


async def test_probes_and_pages_are_not_limited(api: httpx2.AsyncClient) -> None:
    for path in ("/livez", "/metrics", "/docs", "/problems/rate-limited"):
        answers = await asyncio.gather(*(api.get(path) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert "ratelimit" not in answers[0].headers
