"""Merchants, API keys and the audit log over HTTP, on running services."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from shared.auth.keys import hash_credential, looks_like_key
from shared.ids import new_id
from shared.postgres import Pool
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers

Json = dict[str, Any]


class Access:
    """What a test does as the platform and as merchants."""

    def __init__(self, stack: Stack, exits: AsyncExitStack) -> None:
        self.stack, self.platform, self._exits = stack, stack.platform, exits

    async def as_key(self, secret: str) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {secret}"}
        client = httpx2.AsyncClient(base_url=self.stack.base_url, headers=headers, timeout=20)
        return await self._exits.enter_async_context(client)

    async def merchant(self, **fields: Any) -> Json:
        return data(await self.platform.post("/v1/merchants", json={"name": "Rain & Shine", **fields}), 201)

    async def first_key(
        self, merchant_id: str, environment: str = "test", scopes: tuple[str, ...] = ("keys.write", "orders.write")
    ) -> Json:
        """A key that the platform makes, known to the services."""
        body = {"name": "First", "scopes": list(scopes), "merchant_id": merchant_id, "environment": environment}
        made = data(await self.platform.post("/v1/api-keys", json=body), 201)
        await self.accepted(made["secret"])
        return made

    async def key(self, by: httpx2.AsyncClient, scopes: tuple[str, ...] = ("orders.write",), **more: Any) -> Json:
        made = data(await by.post("/v1/api-keys", json={"name": "Further", "scopes": list(scopes), **more}), 201)
        await self.accepted(made["secret"])
        return made

    async def accepted(self, secret: str) -> None:
        client = await self.as_key(secret)
        for path in PATHS:
            await eventually(lambda path=path: answers(client, path, accepted=True), within_s=5)

    async def refused(self, secret: str) -> None:
        """Within a second, by every service."""
        client = await self.as_key(secret)
        for path in PATHS:
            await eventually(lambda path=path: answers(client, path, accepted=False), within_s=1)


PATHS = ("/v1/orders/ord_none", "/v1/unmatched-money/um_none", "/v1/auth-context")
"""One path of each service."""


async def answers(client: httpx2.AsyncClient, path: str, *, accepted: bool) -> bool:
    return ((await client.get(path)).status_code != 401) is accepted


def data(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


def problem(answer: httpx2.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body["code"]


@pytest.fixture
async def access(stack: Stack) -> AsyncIterator[Access]:
    async with AsyncExitStack() as exits:
        yield Access(stack, exits)


async def test_a_merchant_has_two_environments_and_is_read_and_changed(access: Access) -> None:
    fields = {
        "name": "Jackets",
        "country": "DE",
        "default_currency": "EUR",
        "time_zone": "Europe/Berlin",
        "metadata": {"crm": "1", "tier": "a"},
    }
    made = await access.merchant(**fields)
    assert {name: made[name] for name in fields} == fields
    assert (made["status"], made["version"]) == ("active", 1)
    assert [one["environment"] for one in made["environments"]] == ["test", "live"]
    assert all(one["environment_id"].startswith("env_") for one in made["environments"])
    path = f"/v1/merchants/{made['merchant_id']}"
    assert data(await access.platform.get(path)) == made
    changed = data(
        await access.platform.patch(
            path, json={"name": "Coats", "country": None, "metadata": {"crm": None, "new": "x"}, "expected_version": 1}
        )
    )
    expected = {"name": "Coats", "country": None, "metadata": {"tier": "a", "new": "x"}, "version": 2}
    assert {name: changed[name] for name in expected} == expected
    assert data(await access.platform.get(path)) == changed
    same = data(await access.platform.patch(path, json={"name": "Coats"}))
    assert same == changed
    stale = await access.platform.patch(path, json={"name": "Hats", "expected_version": 1})
    assert problem(stale) == (409, "VERSION_CONFLICT")
    assert stale.json()["current_version"] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "a\0b"),
        ("country", "de"),
        ("default_currency", "XYZ"),
        ("time_zone", "Europe/Nowhere"),
        ("metadata", {str(n): "" for n in range(51)}),
    ],
)
async def test_a_merchant_that_is_not_valid_is_refused(access: Access, field: str, value: object) -> None:
    answer = await access.platform.post("/v1/merchants", json={"name": "M", field: value})
    assert problem(answer) == (400, "VALIDATION_FAILED")
    assert answer.json()["param"].startswith(field)
    unknown = await access.platform.post("/v1/merchants", json={"name": "M", "nam": "N"})
    assert problem(unknown) == (400, "UNKNOWN_FIELD")


async def test_a_name_or_status_cannot_be_cleared_and_metadata_has_a_limit(access: Access) -> None:
    path = f"/v1/merchants/{(await access.merchant(metadata={'a': 'b'}))['merchant_id']}"
    for body in ({"name": None}, {"status": None}, {"status": "gone"}, {"metadata": {str(n): "" for n in range(50)}}):
        assert problem(await access.platform.patch(path, json=body)) == (400, "VALIDATION_FAILED"), body


async def test_merchants_are_listed_in_pages(access: Access) -> None:
    made = [(await access.merchant())["merchant_id"] for _ in range(3)]
    first = (await access.platform.get("/v1/merchants", params={"page_size": 2})).json()
    assert [one["merchant_id"] for one in first["data"]] == made[:0:-1]
    second = await access.platform.get("/v1/merchants", params={"page_size": 2, "page_token": first["next_page_token"]})
    assert data(second)[0]["merchant_id"] == made[0]
    other = {"page_token": first["next_page_token"], "status": "closed"}
    assert problem(await access.platform.get("/v1/merchants", params=other)) == (400, "INVALID_PAGE_TOKEN")


async def test_only_the_platform_has_merchants(access: Access) -> None:
    merchant = await access.merchant()
    key = await access.first_key(merchant["merchant_id"])
    client = await access.as_key(key["secret"])
    path = f"/v1/merchants/{merchant['merchant_id']}"
    for answer in (
        await client.post("/v1/merchants", json={"name": "Mine"}),
        await client.get("/v1/merchants"),
        await client.get(path),
        await client.patch(path, json={"name": "Mine"}),
    ):
        assert problem(answer) == (403, "NOT_ALLOWED")
    assert problem(await access.platform.get("/v1/merchants/mer_none")) == (404, "NOT_FOUND")
    assert problem(await access.platform.get("/v1/orders")) == (403, "NOT_ALLOWED")


async def test_a_new_key_is_accepted_everywhere_and_shown_once(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    first = await access.first_key(merchant_id, "live")
    assert looks_like_key(first["secret"])
    assert first["secret"].startswith("tl_live_")
    assert first["secret"].startswith(first["prefix"])
    assert len(first["prefix"]) == len("tl_live_") + 8
    client = await access.as_key(first["secret"])
    context = data(await client.get("/v1/auth-context"))
    assert context == {
        "kind": "api_key",
        "grant_id": first["api_key_id"],
        "merchant_id": merchant_id,
        "environment": "live",
        "scopes": ["keys.write", "orders.write"],
        "expires_at": None,
        "api_version": "2026-11-01",
    }
    shown = data(await client.get(f"/v1/api-keys/{first['api_key_id']}"))
    assert "secret" not in shown
    assert shown == {name: value for name, value in first.items() if name != "secret"}
    assert first["secret"] not in (await client.get("/v1/api-keys")).text


async def test_the_platform_says_who_it_is(access: Access) -> None:
    context = data(await access.platform.get("/v1/auth-context"))
    assert (context["kind"], context["merchant_id"], context["environment"]) == ("platform", None, None)
    shown = data(await access.platform.get(f"/v1/api-keys/{context['grant_id']}"))
    assert (shown["name"], shown["prefix"], shown["environment"]) == ("Platform", None, None)


async def test_who_has_no_credential_is_told_nothing(access: Access) -> None:
    async with httpx2.AsyncClient(base_url=access.stack.base_url) as anybody:
        for path in ("/v1/merchants", "/v1/api-keys", "/v1/audit-log", "/v1/auth-context"):
            assert problem(await anybody.get(path)) == (401, "UNAUTHENTICATED")


async def test_a_key_gives_no_more_than_it_has(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    client = await access.as_key((await access.first_key(merchant_id))["secret"])
    await access.key(client, ("orders.read",))
    more = await client.post("/v1/api-keys", json={"name": "More", "scopes": ["orders.read", "refunds.write"]})
    assert problem(more) == (403, "INSUFFICIENT_SCOPE")
    assert more.json()["missing_scopes"] == ["refunds.write"]
    reader = await access.as_key((await access.key(client, ("orders.write",)))["secret"])
    for answer in (
        await reader.post("/v1/api-keys", json={"name": "Mine", "scopes": ["orders.read"]}),
        await reader.get("/v1/api-keys"),
        await reader.get("/v1/audit-log"),
    ):
        assert problem(answer) == (403, "INSUFFICIENT_SCOPE")


async def test_a_key_makes_none_that_outlives_it(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    passing = await access.key(admin, ("keys.write", "orders.read"), expires_at=ends.isoformat())
    client = await access.as_key(passing["secret"])
    made = await access.key(client, ("orders.read",))
    assert datetime.fromisoformat(made["expires_at"]) == ends
    later = {"name": "Later", "scopes": ["orders.read"], "expires_at": (ends + timedelta(seconds=1)).isoformat()}
    assert problem(await client.post("/v1/api-keys", json=later)) == (403, "NOT_ALLOWED")
    lasting = await access.key(admin, ("orders.read",))
    rotation = await client.post(f"/v1/api-keys/{lasting['api_key_id']}/rotate", json={})
    assert problem(rotation) == (403, "NOT_ALLOWED")
    past = {"name": "Past", "scopes": ["orders.read"], "expires_at": "2026-01-01T00:00:00Z"}
    assert problem(await admin.post("/v1/api-keys", json=past)) == (400, "VALIDATION_FAILED")


async def test_an_expired_key_is_refused_and_shown_as_such(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    ends = datetime.now(UTC) + timedelta(seconds=3)
    key = await access.key(admin, ("orders.read",), expires_at=ends.isoformat())
    client = await access.as_key(key["secret"])
    await eventually(lambda: answers(client, "/v1/orders/ord_none", accepted=False), within_s=5)
    assert datetime.now(UTC) >= ends
    shown = data(await admin.get(f"/v1/api-keys/{key['api_key_id']}"))
    assert shown["status"] == "expired"
    rotation = await admin.post(f"/v1/api-keys/{key['api_key_id']}/rotate", json={})
    assert problem(rotation) == (409, "API_KEY_NOT_ACTIVE")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("name", "", "VALIDATION_FAILED"),
        ("scopes", [], "VALIDATION_FAILED"),
        ("scopes", ["orders.delete"], "VALIDATION_FAILED"),
        ("expires_at", "tomorrow", "VALIDATION_FAILED"),
        ("allowed_origins", ["https://" + "x" * 300], "VALIDATION_FAILED"),
        ("allowed_origins", ["https://shop.example/page"], "VALIDATION_FAILED"),
        ("allowed_origins", ["*"], "VALIDATION_FAILED"),
        ("secret", "tl_test_mine", "UNKNOWN_FIELD"),
    ],
)
async def test_a_key_that_is_not_valid_is_refused(access: Access, field: str, value: object, code: str) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    body = {"name": "K", "scopes": ["orders.read"], "merchant_id": merchant_id, "environment": "test", field: value}
    assert problem(await access.platform.post("/v1/api-keys", json=body)) == (400, code)


async def test_a_platform_key_names_whose_key_it_makes_and_nobody_else_does(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    body: Json = {"name": "K", "scopes": ["orders.read"]}
    for more, code in (
        ({}, (400, "VALIDATION_FAILED")),
        ({"merchant_id": merchant_id}, (400, "VALIDATION_FAILED")),
        ({"merchant_id": new_id("mer"), "environment": "test"}, (404, "NOT_FOUND")),
    ):
        assert problem(await access.platform.post("/v1/api-keys", json={**body, **more})) == code
    client = await access.as_key((await access.first_key(merchant_id))["secret"])
    for more in ({"merchant_id": merchant_id}, {"environment": "live"}):
        assert problem(await client.post("/v1/api-keys", json={**body, **more})) == (403, "NOT_ALLOWED")
        assert problem(await client.get("/v1/api-keys", params=more)) == (403, "NOT_ALLOWED")
        assert problem(await client.get("/v1/audit-log", params=more)) == (403, "NOT_ALLOWED")


async def test_another_tenants_keys_are_not_there(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    key = await access.first_key(merchant_id, "test")
    other_id = (await access.merchant())["merchant_id"]
    strangers = [await access.first_key(merchant_id, "live"), await access.first_key(other_id, "test")]
    for stranger in strangers:
        client = await access.as_key(stranger["secret"])
        path = f"/v1/api-keys/{key['api_key_id']}"
        for answer in (
            await client.get(path),
            await client.post(f"{path}/rotate", json={}),
            await client.post(f"{path}/revoke"),
        ):
            assert problem(answer) == (404, "NOT_FOUND")
        listed = data(await client.get("/v1/api-keys"))
        assert [one["api_key_id"] for one in listed] == [stranger["api_key_id"]]
        logged = data(await client.get("/v1/audit-log"))
        assert key["api_key_id"] not in [entry["target_id"] for entry in logged]
    await access.accepted(key["secret"])
    named = {"merchant_id": merchant_id, "environment": "test"}
    listed = data(await access.platform.get("/v1/api-keys", params=named))
    assert [one["api_key_id"] for one in listed] == [key["api_key_id"]]


async def test_an_order_of_one_environment_is_not_in_the_other(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    clients = {
        environment: await access.as_key((await access.first_key(merchant_id, environment))["secret"])
        for environment in ("test", "live")
    }
    line = {"name": "Jacket", "quantity": 1, "unit_price_money": {"amount": 4500, "currency": "EUR"}}
    body = {"source": "api", "currency": "EUR", "line_items": [line]}
    made = data(await clients["test"].post("/v1/orders", json=body), 201)
    path = f"/v1/orders/{made['order_id']}"
    assert data(await clients["test"].get(path))["environment"] == "test"
    assert problem(await clients["live"].get(path)) == (404, "NOT_FOUND")
    assert data(await clients["live"].get("/v1/orders")) == []


async def test_a_revoked_key_is_refused_everywhere_within_a_second(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    key = await access.key(admin)
    path = f"/v1/api-keys/{key['api_key_id']}"
    revoked = data(await admin.post(f"{path}/revoke"))
    assert revoked["status"] == "revoked"
    await access.refused(key["secret"])
    assert data(await admin.post(f"{path}/revoke")) == revoked
    assert problem(await admin.post(f"{path}/rotate", json={})) == (409, "API_KEY_NOT_ACTIVE")
    acts = data(await admin.get("/v1/audit-log", params={"target_id": key["api_key_id"]}))
    assert [entry["action"] for entry in acts] == ["api_key.revoked", "api_key.created"]


async def test_after_a_rotation_both_secrets_hold_until_the_overlap_ends(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    key = await access.key(admin)
    path = f"/v1/api-keys/{key['api_key_id']}"
    before = datetime.now(UTC)
    second = data(await admin.post(f"{path}/rotate", json={}))
    overlap = datetime.fromisoformat(second["overlap_ends_at"]) - before
    assert timedelta(hours=24) <= overlap < timedelta(hours=24, minutes=1)
    assert second["api_key_id"] == key["api_key_id"]
    assert second["prefix"] != key["prefix"]
    for secret in (key["secret"], second["secret"]):
        await access.accepted(secret)
        context = data(await (await access.as_key(secret)).get("/v1/auth-context"))
        assert context["grant_id"] == key["api_key_id"]
    third = data(await admin.post(f"{path}/rotate", json={"overlap_s": 2}))
    await access.accepted(third["secret"])
    await access.accepted(second["secret"])
    # The overlap of the last rotation ends earlier secrets too, also the one that had a day.
    await eventually(lambda: expired(access, key["secret"], second["secret"]), within_s=5)
    assert datetime.now(UTC) >= datetime.fromisoformat(third["overlap_ends_at"])
    await access.accepted(third["secret"])


async def expired(access: Access, *secrets: str) -> bool:
    clients = [await access.as_key(secret) for secret in secrets]
    return all([await answers(client, "/v1/orders/ord_none", accepted=False) for client in clients])


async def test_without_an_overlap_the_old_secret_is_refused_at_once(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    key = await access.key(admin)
    path = f"/v1/api-keys/{key['api_key_id']}/rotate"
    second = data(await admin.post(path, json={"overlap_s": 0}))
    await access.refused(key["secret"])
    await access.accepted(second["secret"])
    for overlap_s in (-1, 7 * 24 * 3600 + 1, 1.5):
        assert problem(await admin.post(path, json={"overlap_s": overlap_s})) == (400, "VALIDATION_FAILED")


async def test_revoking_ends_every_secret_of_a_rotated_key(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    key = await access.key(admin)
    path = f"/v1/api-keys/{key['api_key_id']}"
    second = data(await admin.post(f"{path}/rotate", json={}))
    await access.accepted(second["secret"])
    await admin.post(f"{path}/revoke")
    await access.refused(key["secret"])
    await access.refused(second["secret"])


async def test_a_key_rotates_only_what_it_could_have_made(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin_key = await access.first_key(merchant_id)
    admin = await access.as_key(admin_key["secret"])
    lesser = await access.as_key((await access.key(admin, ("keys.write",)))["secret"])
    answer = await lesser.post(f"/v1/api-keys/{admin_key['api_key_id']}/rotate", json={})
    assert problem(answer) == (403, "INSUFFICIENT_SCOPE")
    assert answer.json()["missing_scopes"] == ["orders.write"]


async def test_a_repeated_request_makes_one_key_and_shows_no_secret(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    made = await repeated(admin, "/v1/api-keys", {"name": "Once", "scopes": ["orders.read"]}, {"name": "Other"})
    await repeated(admin, f"/v1/api-keys/{made['api_key_id']}/rotate", {"overlap_s": 60}, {"overlap_s": 61})
    assert len(data(await admin.get("/v1/api-keys"))) == 2


async def repeated(client: httpx2.AsyncClient, path: str, body: Json, change: Json) -> Json:
    """What the request made; the same again shows it without its secret, another with the same key is refused."""
    headers = {"Idempotency-Key": new_id("idem")}
    first = await client.post(path, json=body, headers=headers)
    made = data(first, first.status_code)
    assert looks_like_key(made["secret"])
    again = await client.post(path, json=body, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert data(again, first.status_code) == {**made, "secret": None}
    other = await client.post(path, json={**body, **change}, headers=headers)
    assert problem(other) == (409, "IDEMPOTENCY_KEY_REUSED")
    return dict(made)


async def test_no_secret_and_no_hash_is_kept_where_it_can_be_read(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    made = data(
        await admin.post(
            "/v1/api-keys",
            json={"name": "Kept", "scopes": ["orders.read"]},
            headers={"Idempotency-Key": new_id("idem")},
        ),
        201,
    )
    digest = hash_credential(made["secret"])
    pool = Pool(access.stack.settings.database_url.get_secret_value(), "apps", 2)
    await pool.open()
    tables = [row[0] for row in await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'apps'")]
    held: dict[str, list[str]] = {"secret": [], "hash": []}
    for table in tables:
        text = "\n".join(str(row[0]) for row in await pool.fetch(f"SELECT one::text FROM {table} AS one"))
        body = made["secret"].removeprefix(made["prefix"])
        found = {"secret": body in text or body.encode().hex() in text, "hash": digest in text}
        for what, there in found.items():
            held[what] += [table] if there else []
    await pool.close()
    assert held["secret"] == []
    assert set(held["hash"]) <= {"api_key_secrets", "grants", "outbox"}
    assert "api_key_secrets" in held["hash"]
    assert digest not in (await admin.get("/v1/audit-log")).text


async def test_keys_are_listed_in_pages(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    first = await access.first_key(merchant_id)
    admin = await access.as_key(first["secret"])
    made = [first["api_key_id"], *[(await access.key(admin))["api_key_id"] for _ in range(3)]]
    found: list[str] = []
    params: Json = {"page_size": 2}
    for _ in range(2):
        page = (await admin.get("/v1/api-keys", params=params)).json()
        found += [one["api_key_id"] for one in page["data"]]
        params["page_token"] = page.get("next_page_token")
    assert found == made[::-1]
    assert params["page_token"] is None
    assert problem(await admin.get("/v1/api-keys", params={"page_size": 101})) == (400, "VALIDATION_FAILED")


async def test_a_suspended_merchants_credentials_are_refused_until_it_is_active_again(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    keys = [await access.first_key(merchant_id, environment) for environment in ("test", "live")]
    admin = await access.as_key(keys[0]["secret"])
    gone = await access.key(admin)
    data(await admin.post(f"/v1/api-keys/{gone['api_key_id']}/revoke"))
    path = f"/v1/merchants/{merchant_id}"
    assert data(await access.platform.patch(path, json={"status": "suspended"}))["status"] == "suspended"
    for key in keys:
        await access.refused(key["secret"])
    body = {"name": "K", "scopes": ["orders.read"], "merchant_id": merchant_id, "environment": "test"}
    assert problem(await access.platform.post("/v1/api-keys", json=body)) == (409, "MERCHANT_NOT_ACTIVE")
    rotation = await access.platform.post(f"/v1/api-keys/{keys[0]['api_key_id']}/rotate", json={})
    assert problem(rotation) == (409, "MERCHANT_NOT_ACTIVE")
    data(await access.platform.patch(path, json={"status": "active"}))
    for key in keys:
        await access.accepted(key["secret"])
    await access.refused(gone["secret"])


async def test_a_closed_merchant_stays_closed(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    key = await access.first_key(merchant_id)
    path = f"/v1/merchants/{merchant_id}"
    data(await access.platform.patch(path, json={"status": "closed"}))
    await access.refused(key["secret"])
    answer = await access.platform.patch(path, json={"status": "active"})
    assert problem(answer) == (409, "MERCHANT_NOT_ACTIVE")
    renamed = data(await access.platform.patch(path, json={"name": "Was a merchant"}))
    assert (renamed["status"], renamed["name"]) == ("closed", "Was a merchant")


async def test_every_act_is_in_the_log_with_who_and_what(access: Access) -> None:
    merchant = await access.merchant(country="DE")
    merchant_id, path = merchant["merchant_id"], f"/v1/merchants/{merchant['merchant_id']}"
    answer = await access.platform.patch(path, json={"country": "AT", "metadata": {"a": "b"}})
    first = await access.first_key(merchant_id)
    admin = await access.as_key(first["secret"])
    key = await access.key(admin)
    data(await admin.post(f"/v1/api-keys/{key['api_key_id']}/rotate", json={"overlap_s": 60}))
    platform_id = data(await access.platform.get("/v1/auth-context"))["grant_id"]
    log = data(await access.platform.get("/v1/audit-log", params={"merchant_id": merchant_id}))
    who = {"platform": {"type": "platform", "id": platform_id}, "key": {"type": "key", "id": first["api_key_id"]}}
    assert [(one["action"], one["target_id"], one["actor"], one["environment"]) for one in log] == [
        ("api_key.rotated", key["api_key_id"], who["key"], "test"),
        ("api_key.created", key["api_key_id"], who["key"], "test"),
        ("api_key.created", first["api_key_id"], who["platform"], "test"),
        ("merchant.updated", merchant_id, who["platform"], None),
        ("merchant.created", merchant_id, who["platform"], None),
    ]
    assert log[3]["changes"] == {
        "country": {"from": "DE", "to": "AT"},
        "metadata": {"from": {}, "to": {"a": "b"}},
    }
    assert log[3]["request_id"] == answer.headers["X-Request-Id"]
    assert log[1]["changes"]["scopes"] == {"from": None, "to": ["orders.write"]}
    assert data(await admin.get("/v1/audit-log")) == log
    live = await access.as_key((await access.first_key(merchant_id, "live"))["secret"])
    assert [one["action"] for one in data(await live.get("/v1/audit-log"))] == [
        "api_key.created",
        "merchant.updated",
        "merchant.created",
    ]


async def test_the_log_is_filtered_and_paged(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    first = await access.first_key(merchant_id)
    admin = await access.as_key(first["secret"])
    keys = [await access.key(admin) for _ in range(3)]

    async def found(**params: Any) -> list[str]:
        return [one["target_id"] for one in data(await admin.get("/v1/audit-log", params=params))]

    ids = [key["api_key_id"] for key in keys]
    assert await found(actor_id=first["api_key_id"]) == ids[::-1]
    assert await found(action="merchant.created") == [merchant_id]
    assert await found(target_id=ids[1]) == [ids[1]]
    assert await found(created_from=keys[1]["created_at"], action="api_key.created") == ids[:0:-1]
    assert await found(created_before=keys[0]["created_at"]) == [first["api_key_id"], merchant_id]
    pages: list[str] = []
    params: Json = {"page_size": 2}
    while True:
        page = (await admin.get("/v1/audit-log", params=params)).json()
        pages += [one["target_id"] for one in page["data"]]
        if "next_page_token" not in page:
            break
        params["page_token"] = page["next_page_token"]
    assert pages == [*ids[::-1], first["api_key_id"], merchant_id]
    assert problem(await admin.get("/v1/audit-log", params={"actor": "x"})) == (400, "UNKNOWN_FIELD")


async def test_what_was_refused_is_not_in_the_log(access: Access) -> None:
    merchant_id = (await access.merchant())["merchant_id"]
    admin = await access.as_key((await access.first_key(merchant_id))["secret"])
    before = data(await admin.get("/v1/audit-log"))
    await admin.post("/v1/api-keys", json={"name": "More", "scopes": ["refunds.write"]})
    await admin.post(f"/v1/api-keys/{new_id('key')}/revoke")
    assert data(await admin.get("/v1/audit-log")) == before
