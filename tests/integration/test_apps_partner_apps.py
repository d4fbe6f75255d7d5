"""Partner apps, their installs and a merchant's staff over HTTP: who sees what, and what is noted of it."""

import html
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from services.apps.core.authorization import challenge_of
from tests.apps import run
from tests.people import APP, READ, REDIRECT, REFUND, Json, Person, Town, query_of
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers

APPS = "/v1/developer/partner/apps"
VERIFIER = "v" * 64


@pytest.fixture
async def town(stack: Stack) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(stack, exits)


@pytest.fixture(scope="module")
async def owner(stack: Stack) -> AsyncIterator[tuple[str, Person]]:
    """A merchant and its owner, signed in."""
    async with AsyncExitStack() as exits:
        town = Town(stack, exits)
        merchant_id = await town.merchant()
        yield merchant_id, await town.person_of(merchant_id)


def data(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


def problem(answer: httpx2.Response) -> tuple[int, str, str | None]:
    body = answer.json()
    return answer.status_code, body["code"], body.get("param")


async def install(town: Town, person: Person, app: Json, mode: str, **choices: str) -> Json:
    """The app's tokens after the person approved it."""
    asked = {
        "client_id": app["partner_app_id"],
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "state": "s",
        "mode": mode,
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    page = await person.http.get("/v1/oauth/authorize", params=asked)
    answer = await person.send(page, "/v1/oauth/authorize", decision="approve", **choices)
    code = query_of(answer.headers["location"])["code"]
    client = await town.client()
    fields = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    found: Json = (
        await client.post("/v1/oauth/token", data=fields, auth=(app["partner_app_id"], app["client_secret"]))
    ).json()
    assert "access_token" in found, found
    return found


async def test_an_app_is_registered_read_listed_and_changed(town: Town) -> None:
    key = await town.key(await town.merchant())
    budget = {"effect": "refund", "limit_money": {"amount": 50000, "currency": "EUR"}, "period": "day"}
    made = await town.app_of(key, money_budgets=[budget], default_permission_ids=["refund"])
    path = f"{APPS}/{made['partner_app_id']}"
    read = data(await key.get(path))
    assert read == made | {"client_secret": None}
    assert (read["modes"], read["money_budgets"], read["version"]) == (["test"], [budget], 1)
    assert data(await key.get(APPS)) == [read]
    changed = data(await key.patch(path, json={"name": "Renamed", "expected_version": 1}))
    assert (changed["name"], changed["version"], changed["manifest"]) == ("Renamed", 2, read["manifest"])
    assert problem(await key.patch(path, json={"name": "Late", "expected_version": 1}))[:2] == (409, "VERSION_CONFLICT")
    assert problem(await key.patch(path, json={"redirect_uris": ["http://x.example"]})) == (
        400,
        "VALIDATION_FAILED",
        "redirect_uris.0",
    )


async def test_a_secret_is_never_in_a_replayed_answer(town: Town) -> None:
    key = await town.key(await town.merchant())
    headers = {"Idempotency-Key": "once"}
    first = data(await key.post(APPS, json=APP, headers=headers), 201)
    again = await key.post(APPS, json=APP, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert data(again, 201) == first | {"client_secret": None}
    rotate = f"{APPS}/{first['partner_app_id']}/rotate-secret"
    assert data(await key.post(rotate, json={}, headers={"Idempotency-Key": "r"}))["client_secret"] is not None
    assert data(await key.post(rotate, json={}, headers={"Idempotency-Key": "r"}))["client_secret"] is None
    assert len(data(await key.get(f"{APPS}/{first['partner_app_id']}"))["client_secrets"]) == 2


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"redirect_uris": []}, "redirect_uris"),
        ({"redirect_uris": ["https://a.example#x"]}, "redirect_uris.0"),
        ({"manifest": []}, "manifest"),
        ({"manifest": [READ | {"required_scopes": ["keys.write"]}]}, "manifest.0.required_scopes"),
        ({"manifest": [READ, READ]}, "manifest"),
        ({"manifest": [READ | {"permission_id": "No Id"}]}, "manifest.0.permission_id"),
        ({"default_permission_ids": ["none"]}, "default_permission_ids"),
        ({"type": "robot"}, "type"),
        ({"name": "two\nlines"}, "name"),
    ],
)
async def test_a_bad_app_is_refused_and_the_field_named(town: Town, fields: Json, param: str) -> None:
    key = await town.key(await town.merchant())
    assert problem(await key.post(APPS, json=APP | fields)) == (400, "VALIDATION_FAILED", param)
    assert data(await key.get(APPS)) == []


async def test_nobody_sees_or_changes_anothers_app(town: Town) -> None:
    merchant_id = await town.merchant()
    mine, live = await town.key(merchant_id), await town.key(merchant_id, "live")
    stranger = await town.key(await town.merchant())
    app = await town.app_of(mine)
    path = f"{APPS}/{app['partner_app_id']}"
    for other in (stranger, live):
        answers = [
            await other.get(path),
            await other.patch(path, json={"name": "Mine"}),
            await other.post(f"{path}/rotate-secret", json={}),
            await other.delete(path),
        ]
        assert {problem(answer)[:2] for answer in answers} == {(404, "NOT_FOUND")}
        assert data(await other.get(APPS)) == []
    reader = await town.key(merchant_id, "test", "apps.read")
    assert problem(await reader.post(APPS, json=APP))[:2] == (403, "INSUFFICIENT_SCOPE")
    assert data(await reader.get(path))["name"] == app["name"]


async def test_the_list_has_pages(town: Town) -> None:
    key = await town.key(await town.merchant())
    made = [(await town.app_of(key))["partner_app_id"] for _ in range(3)]
    first = await key.get(APPS, params={"page_size": 2})
    token = first.json()["next_page_token"]
    second = await key.get(APPS, params={"page_size": 2, "page_token": token})
    assert [app["partner_app_id"] for app in data(first) + data(second)] == made[::-1]
    assert "next_page_token" not in second.json()


async def test_each_side_sees_its_own_part_of_an_install(town: Town, owner: tuple[str, Person]) -> None:
    merchant_id, person = owner
    developer_id = await town.merchant("Toolmaker")
    developer = await town.key(developer_id, "live")
    app = await town.app_of(developer)
    assert app["modes"] == ["test", "live"]
    test, live = await install(town, person, app, "test"), await install(town, person, app, "live")
    assert test["partner_app_install_id"] == live["partner_app_install_id"]
    assert test["environment_grant_id"] != live["environment_grant_id"]
    installs = f"{APPS}/{app['partner_app_id']}/installs"
    one = f"{installs}/{test['partner_app_install_id']}"
    keys = {mode: await town.key(merchant_id, mode) for mode in ("test", "live")}
    seen = {
        "developer": _modes(data(await developer.get(one))),
        "developer's test": (await (await town.key(developer_id)).get(one)).status_code,
        "test": _modes(data(await keys["test"].get(one))),
        "live": _modes(data(await keys["live"].get(one))),
        "stranger": (await (await town.key(await town.merchant())).get(one)).status_code,
    }
    assert seen == {
        "developer": ["test", "live"],
        "developer's test": 404,
        "test": ["test"],
        "live": ["live"],
        "stranger": 404,
    }
    assert [each["partner_app_install_id"] for each in data(await developer.get(installs))] == [
        test["partner_app_install_id"]
    ]
    assert _modes(data(await keys["test"].get(installs))[0]) == ["test"]
    # The merchant's test key ends what is in test, and only that.
    grant = f"{APPS}/{app['partner_app_id']}/grants/{live['environment_grant_id']}/revoke"
    assert (await keys["test"].post(grant)).status_code == 404
    ended = data(await keys["test"].post(f"{one}/revoke"))
    assert (ended["status"], [each["status"] for each in ended["environment_grants"]]) == ("active", ["revoked"])
    assert await works(town, live)
    await refused(town, test)
    assert data(await keys["live"].post(grant))["status"] == "revoked"
    await refused(town, live)


def _modes(view: Json) -> list[str]:
    return [each["mode"] for each in view["environment_grants"]]


async def works(town: Town, token: Json) -> bool:
    client = await town.client(token["access_token"])
    return (await client.get("/v1/orders")).status_code == 200


async def refused(town: Town, token: Json) -> None:
    async def shut() -> bool:
        return not await works(town, token)

    await eventually(shut, within_s=1.5)


async def test_another_apps_installs_are_not_found(town: Town, owner: tuple[str, Person]) -> None:
    developer = await town.key(await town.merchant())
    app, other = await town.app_of(developer), await town.app_of(developer)
    token = await install(town, owner[1], app, "test")
    for path in (
        f"installs/{token['partner_app_install_id']}/revoke",
        f"grants/{token['environment_grant_id']}/revoke",
        "installs/ins_none/revoke",
        "grants/grt_none/revoke",
    ):
        assert problem(await developer.post(f"{APPS}/{other['partner_app_id']}/{path}"))[:2] == (404, "NOT_FOUND")
    assert await works(town, token)


async def test_a_deleted_app_is_gone_everywhere(town: Town, owner: tuple[str, Person]) -> None:
    developer = await town.key(await town.merchant())
    app = await town.app_of(developer)
    token = await install(town, owner[1], app, "test")
    assert (await developer.get(f"{APPS}/{app['partner_app_id']}/installs")).status_code == 200
    assert (await developer.delete(f"{APPS}/{app['partner_app_id']}")).status_code == 204
    assert (await developer.get(f"{APPS}/{app['partner_app_id']}/installs")).status_code == 404
    assert (await developer.get(f"{APPS}/{app['partner_app_id']}")).status_code == 404
    await refused(town, token)
    client = await town.client()
    fields = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    answer = await client.post("/v1/oauth/token", data=fields, auth=(app["partner_app_id"], app["client_secret"]))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_an_app_reaches_only_what_it_was_granted(town: Town, owner: tuple[str, Person]) -> None:
    developer = await town.key(await town.merchant())
    token = await install(town, owner[1], await town.app_of(developer), "test")
    client = await town.client(token["access_token"])
    assert (await client.get("/v1/orders")).status_code == 200
    for path in ("/v1/customers", "/v1/channels", APPS, "/v1/api-keys", "/v1/staff-users", "/v1/audit-log"):
        assert problem(await client.get(path))[:2] == (403, "INSUFFICIENT_SCOPE"), path
    assert problem(await client.post("/v1/orders", json={}))[:2] == (403, "INSUFFICIENT_SCOPE")


async def test_the_page_lists_what_is_installed_and_takes_it_out(town: Town, owner: tuple[str, Person]) -> None:
    merchant_id, person = owner
    developer = await town.key(await town.merchant())
    token = await install(town, person, await town.app_of(developer, name="Taken out"), "test")
    action = f"/account/grants/{token['environment_grant_id']}/revoke"
    clerk = await town.person_of(merchant_id, "clerk")
    page = await clerk.http.get("/account")
    assert "Taken out" in page.text
    assert action not in page.text
    csrf = page.text.split('name="csrf" value="')[1].split('"')[0]
    assert (await clerk.http.post(action, data={"csrf": csrf})).status_code == 404
    stranger = await town.person_of(await town.merchant())
    theirs = (await stranger.http.get("/account")).text.split('name="csrf" value="')[1].split('"')[0]
    assert (await stranger.http.post(action, data={"csrf": theirs})).status_code == 404
    assert (await person.http.post(action, data={"csrf": csrf})).status_code == 403
    assert await works(town, token)
    done = await person.send(await person.http.get("/account"), action)
    assert (done.status_code, done.headers["location"]) == (303, "/account")
    await refused(town, token)
    assert action not in (await person.http.get("/account")).text


async def test_the_page_of_a_merchant_with_many_apps_has_pages(town: Town) -> None:
    """Of 45 apps each is on one page; whoever removes one stays where he is; another's merchant is not shown."""
    merchant_id, second = await town.merchant("Rain <Shine>"), await town.merchant()
    person = await town.person_of(merchant_id)
    developer = await town.key(await town.merchant())
    token = await install(town, person, await town.app_of(developer, name="One"), "test")
    await run(
        town.stack,
        """
        WITH made AS (
            INSERT INTO partner_apps (app_id, merchant_id, environment, name, type, redirect_uris, manifest,
                default_permission_ids, money_budgets, status, version, created_at, updated_at)
            SELECT 'app_' || $1 || n, 'mer_d', 'test', 'App number ' || n || '.', 'server', '{}', '[]', '{}', '[]',
                'active', 1, now(), now()
            FROM generate_series(1, 44) AS n RETURNING app_id
        ), let_in AS (
            INSERT INTO installs SELECT 'ins_' || app_id, app_id, $1, 'active', now(), now(), NULL FROM made
            RETURNING install_id, app_id
        )
        INSERT INTO environment_grants
        SELECT 'grt_' || app_id, install_id, app_id, $1, 'live', '{}', '{orders.read}', 'active', 'usr_1', now(), now()
        FROM let_in
        """,
        merchant_id,
    )
    shown: list[list[str]] = []
    paths = ["/account"]
    while paths[-1]:
        text = (await person.http.get(paths[-1])).text
        shown.append(re.findall(r"<h3>([^<]+) <span", text))
        more = re.search(r'<a href="([^"]+)">More apps of Rain &lt;Shine&gt;</a>', text)
        paths.append(html.unescape(more[1]) if more else "")
    assert [len(each) for each in shown] == [20, 20, 5]
    assert len({name for each in shown for name in each}) == 45
    last = paths[2]
    page = await person.http.get(last)
    [gone, *_] = re.findall(r'action="(/account/grants/[^"]+/revoke)"', page.text)
    answer = await person.send(page, gone)
    assert (answer.status_code, answer.headers["location"]) == (303, last)
    assert len(re.findall("<h3>", (await person.http.get(last)).text)) == 4
    await town.person_of(second)
    assert (await person.http.get(f"/account?merchant={second}")).status_code == 404
    for odd in ("/account?merchant=%01", "/account?after=%01&merchant=", "/account?after=" + "x" * 5_000):
        assert (await person.http.get(odd)).status_code == 200, odd
    assert await works(town, token)


async def test_every_act_is_in_the_audit_log(town: Town) -> None:
    merchant_id, developer_id = await town.merchant(), await town.merchant()
    person, developer = await town.person_of(merchant_id), await town.key(developer_id)
    app = await town.app_of(developer)
    path = f"{APPS}/{app['partner_app_id']}"
    token = await install(town, person, app, "test")
    await install(town, person, app, "test")
    await developer.patch(path, json={"name": "Other"})
    await developer.post(f"{path}/rotate-secret", json={})
    await developer.post(f"{path}/installs/{token['partner_app_install_id']}/revoke")
    await developer.delete(path)
    await person.send(await person.http.get("/account"), "/sign-out")
    logs = {who: await _log(town, who) for who in (merchant_id, developer_id)}
    assert [action for action, _ in logs[merchant_id] if not action.startswith(("merchant.", "api_key."))] == [
        "staff_user.invited",
        "staff_user.joined",
        "staff_user.signed_in",
        "environment_grant.approved",
        "environment_grant.created",
        "environment_grant.approved",
        "environment_grant.revoked",
        "staff_user.signed_out",
    ]
    actors = dict(logs[merchant_id])
    assert actors["environment_grant.approved"]["type"] == "operator"
    assert actors["environment_grant.created"] == {"type": "app", "id": app["partner_app_id"]}
    assert [action for action, _ in logs[developer_id] if action.startswith("partner_app.")] == [
        "partner_app.created",
        "partner_app.updated",
        "partner_app.secret_rotated",
        "partner_app.deleted",
    ]


async def test_the_audit_log_says_what_an_app_asked_for_and_asks_for_now(town: Town) -> None:
    developer_id = await town.merchant()
    developer = await town.key(developer_id)
    app = await town.app_of(developer)
    path = f"{APPS}/{app['partner_app_id']}"
    wider = [READ | {"required_scopes": ["orders.read", "refunds.write"]}, REFUND | {"optional": False}]
    budget = {"effect": "refund", "limit_money": {"amount": 5_000, "currency": "EUR"}, "period": "day"}
    await developer.patch(path, json={"manifest": wider})
    await developer.patch(path, json={"money_budgets": [budget]})
    await developer.patch(path, json={"name": "Other"})
    query = {"merchant_id": developer_id, "target_id": app["partner_app_id"]}
    entries = data(await town.stack.platform.get("/v1/audit-log", params=query))
    named, budgeted, widened, created = (entry["changes"] for entry in entries)
    before = [READ | {"optional": False}, REFUND]
    assert created["manifest"] == {"from": None, "to": before}
    assert widened == {"manifest": {"from": before, "to": [wider[0] | {"optional": False}, wider[1]]}}
    assert budgeted == {"money_budgets": {"from": [], "to": [budget]}}
    assert named == {"name": {"from": "Packing lists", "to": "Other"}}


async def _log(town: Town, merchant_id: str) -> list[tuple[str, Json]]:
    query = {"merchant_id": merchant_id, "page_size": "100"}
    entries = data(await town.stack.platform.get("/v1/audit-log", params=query))
    return [(entry["action"], entry["actor"]) for entry in reversed(entries)]
