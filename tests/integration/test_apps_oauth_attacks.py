"""What somebody may try with OAuth, its pages and sessions, and that nothing comes of it. On running services."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from services.apps.core.authorization import challenge_of
from services.apps.core.staff import ACCOUNT
from shared.http.problems import PROBLEM_JSON
from tests.people import PASSWORD, READ, REDIRECT, Json, Person, Town, browser, query_of
from tests.stack import Stack, eventually

pytestmark = pytest.mark.servers

VERIFIER = "v" * 64
AUTHORIZE = "/v1/oauth/authorize"


class Scene(Town):
    """An app, a merchant, and the merchant's owner at a browser, signed in."""

    app: Json
    person: Person
    merchant_id: str

    def request(self, **changes: str | None) -> str:
        given: dict[str, str | None] = {
            "client_id": self.app["partner_app_id"],
            "redirect_uri": REDIRECT,
            "response_type": "code",
            "state": "state-1",
            "mode": "test",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        return f"{AUTHORIZE}?{urlencode({name: text for name, text in (given | changes).items() if text is not None})}"

    async def code(self, **changes: str | None) -> str:
        page = await self.person.http.get(self.request(**changes))
        answer = await self.person.send(page, AUTHORIZE, decision="approve")
        return query_of(answer.headers["location"])["code"]

    async def token(self, app: Json | None = None, **fields: str | None) -> httpx.Response:
        app = app or self.app
        given = {"grant_type": "authorization_code", "redirect_uri": REDIRECT, "code_verifier": VERIFIER}
        body = {name: text for name, text in (given | fields).items() if text is not None}
        client = await self.client()
        return await client.post("/v1/oauth/token", data=body, auth=(app["partner_app_id"], app["client_secret"]))

    async def works(self, token: Json) -> bool:
        client = await self.client(token["access_token"])
        return (await client.get("/v1/orders")).status_code == 200

    async def with_people(self) -> None:
        """A merchant of this test's own, and its owner."""
        self.merchant_id = await self.merchant()
        self.person = await self.person_of(self.merchant_id)


@pytest.fixture(scope="module")
async def people(stack: Stack) -> AsyncIterator[Scene]:
    """A merchant and its owner for all tests that do them no harm: passwords take time."""
    async with AsyncExitStack() as exits:
        made = Scene(stack, exits)
        await made.with_people()
        yield made


@pytest.fixture
async def scene(people: Scene) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as exits:
        made = Scene(people.stack, exits)
        made.merchant_id, made.person = people.merchant_id, people.person
        made.app = await made.app_of(await made.key(await made.merchant("Toolmaker")))
        yield made


def refused(answer: httpx.Response, error: str, status: int = 400) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"error", "error_description"}
    return bool(answer.json()["error"] == error)


# Authorization requests


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "https://evil.example/",
        "https://packing.example/installed",
        f"{REDIRECT}&x",
        "//evil.example",
        "javascript:x",
        "",
    ],
)
async def test_nobody_is_sent_to_an_address_that_is_not_registered(scene: Scene, redirect_uri: str) -> None:
    answer = await scene.person.http.get(scene.request(redirect_uri=redirect_uri))
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"state": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"mode": "live"}, "invalid_request"),
        ({"permission_ids": "steal"}, "invalid_scope"),
    ],
)
async def test_the_app_learns_of_its_mistake(scene: Scene, changes: dict[str, str | None], error: str) -> None:
    answer = await scene.person.http.get(scene.request(**changes))
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"{REDIRECT}&")
    told = query_of(answer.headers["location"])
    assert (told["error"], told["iss"], told["from"]) == (error, scene.stack.base_url, "us")
    assert told.get("state") == (None if "state" in changes else "state-1")
    preview = await scene.person.http.get(scene.request(**changes).replace(AUTHORIZE, f"{AUTHORIZE}/preview"))
    assert (preview.status_code, preview.json()["error"]) == (400, error)


async def test_the_preview_says_what_the_merchant_would_see(scene: Scene) -> None:
    path = scene.request(permission_ids="refund").replace(AUTHORIZE, f"{AUTHORIZE}/preview")
    seen = (await scene.person.http.get(path)).json()["data"]
    assert (seen["required_scopes"], seen["all_scopes"]) == (["orders.read"], ["orders.read", "refunds.write"])
    assert seen["money_effects"] == ["Pay money back to your buyers"]


async def test_refusing_tells_the_app_and_gives_nothing(scene: Scene) -> None:
    page = await scene.person.http.get(scene.request())
    answer = await scene.person.send(page, AUTHORIZE, decision="refuse")
    told = query_of(answer.headers["location"])
    assert (told["error"], told["state"], told["iss"]) == ("access_denied", "state-1", scene.stack.base_url)
    assert "code" not in told


async def test_what_was_not_asked_for_cannot_be_approved(scene: Scene) -> None:
    page = await scene.person.http.get(scene.request())
    for forged in ({"permission": "refund"}, {"mode": "live"}, {"merchant_id": ""}):
        answer = await scene.person.send(page, AUTHORIZE, decision="approve", **forged)
        assert answer.status_code == 400
        assert "location" not in answer.headers


# The consent form


async def test_a_form_of_another_site_approves_nothing(scene: Scene) -> None:
    page = await scene.person.http.get(scene.request())
    fields = {"decision": "approve", "merchant_id": scene.merchant_id, "mode": "test"}
    stranger = await scene.person_of(await scene.merchant("Stranger"))
    other = await stranger.http.get(scene.request())
    tries: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": _csrf(other)}, {}),
        ({"csrf": _csrf(page)}, {"Origin": "https://evil.example"}),
        ({"csrf": _csrf(page)}, {"Origin": "null"}),
        ({"csrf": _csrf(page)}, {"Sec-Fetch-Site": "cross-site"}),
        ({"csrf": _csrf(page)}, {"Sec-Fetch-Site": "same-site"}),
    ]
    for more, headers in tries:
        answer = await scene.person.http.post(scene.request(), data=fields | more, headers=headers)
        assert answer.status_code == 403, (more, headers)
        assert "location" not in answer.headers
    right = {"Origin": scene.stack.base_url, "Sec-Fetch-Site": "same-origin"}
    answer = await scene.person.http.post(scene.request(), data=fields | {"csrf": _csrf(page)}, headers=right)
    assert "code" in query_of(answer.headers["location"])


def _csrf(page: httpx.Response) -> str:
    return page.text.split(f'action="{AUTHORIZE}')[1].split('name="csrf" value="')[1].split('"')[0]


async def test_no_page_can_be_framed_or_run_scripts(scene: Scene) -> None:
    pages = [scene.request(), scene.request(redirect_uri="x"), "/sign-in", "/account", "/join?invitation=x"]
    nobody = await scene.client()
    answers = [await scene.person.http.get(path) for path in pages] + [await nobody.get("/sign-in")]
    for answer in answers:
        policy = answer.headers.get("content-security-policy", "frame-ancestors 'none' default-src 'none'")
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert "<script" not in answer.text


async def test_the_policy_lets_the_form_lead_to_the_app_and_nowhere_else(scene: Scene) -> None:
    policy = (await scene.person.http.get(scene.request())).headers["content-security-policy"]
    assert policy.endswith("form-action 'self' https://packing.example")


async def test_what_an_app_calls_itself_is_text(scene: Scene) -> None:
    developer = await scene.key(await scene.merchant("<i>Toolmaker</i>"))
    evil = READ | {"title": "<script>alert(1)</script>", "description": '"><img src=x onerror=alert(1)>'}
    scene.app = await scene.app_of(developer, name='</h1><form action="https://evil.example">', manifest=[evil])
    text = (await scene.person.http.get(scene.request(state='"><b>'))).text
    for raw in ("<script", "<img", '<form action="https://evil', "<b>", "<i>Toolmaker"):
        assert raw not in text
    hidden = await developer.post("/v1/developer/partner/apps", json={**_app(evil), "name": "Bank\u202egnp"})
    assert (hidden.status_code, hidden.json()["param"]) == (400, "name")


def _app(permission: Json) -> Json:
    return {"name": "A", "type": "server", "redirect_uris": [REDIRECT], "manifest": [permission]}


@pytest.mark.parametrize("role", ["finance", "support", "clerk"])
async def test_only_owners_and_managers_install(scene: Scene, role: str) -> None:
    person = await scene.person_of(scene.merchant_id, role)
    page = await person.http.get(scene.request())
    assert "Not yours to approve" in page.text
    fields = {"decision": "approve", "merchant_id": scene.merchant_id, "mode": "test", "csrf": await _own_csrf(person)}
    answer = await person.http.post(scene.request(), data=fields)
    assert answer.status_code == 403
    assert "location" not in answer.headers


async def _own_csrf(person: Person) -> str:
    page = await person.http.get("/account")
    return page.text.split('name="csrf" value="')[1].split('"')[0]


async def test_nobody_installs_at_another_merchant(scene: Scene) -> None:
    other = await scene.merchant("Other")
    page = await scene.person.http.get(scene.request())
    answer = await scene.person.send(page, AUTHORIZE, decision="approve", merchant_id=other)
    assert answer.status_code == 403
    assert "location" not in answer.headers


async def test_nothing_is_installed_at_a_merchant_that_is_suspended(scene: Scene) -> None:
    await scene.with_people()
    code = await scene.code()
    suspended = await scene.stack.platform.patch(f"/v1/merchants/{scene.merchant_id}", json={"status": "suspended"})
    assert suspended.status_code == 200, suspended.text
    assert refused(await scene.token(code=code), "invalid_grant")
    page = await scene.person.http.get(scene.request())
    assert (await scene.person.send(page, AUTHORIZE, decision="approve")).status_code == 403


async def test_an_install_rests_while_its_merchant_is_suspended(scene: Scene) -> None:
    await scene.with_people()
    token = (await scene.token(code=await scene.code())).json()
    path = f"/v1/merchants/{scene.merchant_id}"
    for status, works in (("suspended", False), ("active", True)):
        assert (await scene.stack.platform.patch(path, json={"status": status})).status_code == 200

        async def as_said(works: bool = works) -> bool:
            return (await scene.works(token)) is works

        await eventually(as_said, within_s=2)


# Codes


async def test_a_code_works_once_and_a_second_use_ends_what_it_gave(scene: Scene) -> None:
    code = await scene.code()
    first = await scene.token(code=code)
    assert first.status_code == 200, first.text
    token = first.json()
    assert await scene.works(token)
    assert refused(await scene.token(code=code), "invalid_grant")

    async def shut() -> bool:
        return not await scene.works(token)

    await eventually(shut, within_s=1.5)
    assert refused(await _refresh(scene, token), "invalid_grant")


async def _refresh(scene: Scene, token: Json, app: Json | None = None, **more: str) -> httpx.Response:
    fields = {"grant_type": "refresh_token", "redirect_uri": None, "code_verifier": None} | more
    return await scene.token(app, refresh_token=token["refresh_token"], **fields)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_verifier": "w" * 64}, "invalid_grant"),
        ({"code_verifier": challenge_of(VERIFIER)}, "invalid_grant"),
        ({"code_verifier": "short"}, "invalid_grant"),
        ({"redirect_uri": "https://packing.example/other"}, "invalid_grant"),
    ],
)
async def test_a_code_that_is_presented_wrongly_is_spent(scene: Scene, changes: dict[str, str], error: str) -> None:
    code = await scene.code()
    assert refused(await scene.token(code=code, **changes), error)
    assert refused(await scene.token(code=code), "invalid_grant")


async def test_a_code_without_its_verifier_is_worth_nothing(scene: Scene) -> None:
    code = await scene.code()
    for missing in (None, ""):
        assert refused(await scene.token(code=code, code_verifier=missing), "invalid_request")
    assert (await scene.token(code=code, redirect_uri=None)).status_code == 200, "OAuth 2.1 sends no redirect_uri here"


async def test_another_app_can_neither_use_a_code_nor_spend_it(scene: Scene) -> None:
    other = await scene.app_of(await scene.key(await scene.merchant("Rival")), name="Rival")
    code = await scene.code()
    assert refused(await scene.token(other, code=code), "invalid_grant")
    answer = await scene.token(code=code)
    assert answer.status_code == 200
    token = answer.json()
    assert refused(await _refresh(scene, token, other), "invalid_grant")
    assert refused(await scene.token(other, code=code), "invalid_grant")
    assert await scene.works(token)
    assert (await _refresh(scene, token)).status_code == 200


async def test_two_at_once_get_one_pair_of_tokens(scene: Scene) -> None:
    code = await scene.code()
    answers = await asyncio.gather(*(scene.token(code=code) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]


# Refresh tokens


async def test_a_refresh_token_of_an_earlier_consent_ends_without_harm(scene: Scene) -> None:
    first = (await scene.token(code=await scene.code())).json()
    second = (await scene.token(code=await scene.code())).json()
    assert second["environment_grant_id"] == first["environment_grant_id"]
    assert refused(await _refresh(scene, first), "invalid_grant")
    assert await scene.works(second)
    assert (await _refresh(scene, second)).status_code == 200


async def test_a_refresh_gives_no_more_than_was_granted(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    assert refused(await _refresh(scene, token, scope="orders.read refunds.write"), "invalid_scope")
    answer = await _refresh(scene, token, scope="orders.read")
    assert answer.json()["scope"] == "orders.read"


async def test_a_second_consent_changes_what_the_app_may_do(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    client = await scene.client(token["access_token"])
    assert (await client.get("/v1/auth-context")).json()["data"]["scopes"] == ["orders.read"]
    page = await scene.person.http.get(scene.request(permission_ids="refund"))
    answer = await scene.person.send(page, AUTHORIZE, decision="approve", permission="refund")
    wider = await scene.token(code=query_of(answer.headers["location"])["code"])
    assert wider.json()["scope"] == "orders.read refunds.write"

    async def wide() -> bool:
        return bool((await client.get("/v1/auth-context")).json()["data"]["scopes"] == ["orders.read", "refunds.write"])

    await eventually(wide, within_s=1.5)


# Clients


async def test_a_client_proves_itself_in_one_way(scene: Scene) -> None:
    name, secret = scene.app["partner_app_id"], scene.app["client_secret"]
    client, url = await scene.client(), "/v1/oauth/token"
    grant = {"grant_type": "refresh_token", "refresh_token": "x"}
    wrong: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({}, {}),
        ({"client_id": name}, {}),
        ({"client_id": name, "client_secret": secret[:-1]}, {}),
        ({"client_id": "app_none", "client_secret": secret}, {}),
        ({}, {"auth": (name, "wrong")}),
        ({}, {"auth": (name, "")}),
        ({}, {"headers": {"Authorization": "Basic !"}}),
        ({}, {"headers": {"Authorization": f"Basic {base64.b64encode(b'no-colon').decode()}"}}),
        ({}, {"headers": {"Authorization": f"Basic {base64.b64encode(b'%00:x').decode()}"}}),
        ({}, {"headers": {"Authorization": f"Bearer {secret}"}}),
    ]
    for fields, how in wrong:
        answer = await client.post(url, data=grant | fields, **how)
        assert refused(answer, "invalid_client", 401), (fields, how)
        assert answer.headers["www-authenticate"].startswith("Basic")
    both = await client.post(url, data=grant | {"client_secret": secret}, auth=(name, secret))
    assert refused(both, "invalid_request")
    other = await client.post(url, data=grant | {"client_id": "app_other"}, auth=(name, secret))
    assert refused(other, "invalid_request")
    for how in (
        {"data": grant | {"client_id": name, "client_secret": secret}},
        {"data": grant, "auth": (name, secret)},
    ):
        assert refused(await client.post(url, **how), "invalid_grant"), "the client is known"
    posted = await client.post(url, json=grant | {"client_id": name, "client_secret": secret})
    assert refused(posted, "invalid_grant"), "as JSON too"


async def test_what_is_no_token_request_is_said_in_oauths_words(scene: Scene) -> None:
    client = await scene.client()
    auth = (scene.app["partner_app_id"], scene.app["client_secret"])
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    bodies: list[tuple[bytes, dict[str, str], str]] = [
        (b"", form, "invalid_request"),
        (b"grant_type=password&username=a&password=b", form, "unsupported_grant_type"),
        (b"grant_type=client_credentials", form, "unsupported_grant_type"),
        (b"grant_type=refresh_token&grant_type=refresh_token", form, "invalid_request"),
        (b"grant_type=refresh_token&refresh_token=%ff", form, "invalid_request"),
        (b"grant_type=refresh_token&refresh_token=%00", form, "invalid_request"),
        (b"&".join([b"x=1"] * 300), form, "invalid_request"),
        (b"{", {"Content-Type": "application/json"}, "invalid_request"),
        (b"[]", {"Content-Type": "application/json"}, "invalid_request"),
        (b'{"grant_type": 1}', {"Content-Type": "application/json"}, "invalid_request"),
        (b'{"grant_type": "\\u0000"}', {"Content-Type": "application/json"}, "invalid_request"),
        (b"grant_type=refresh_token", {"Content-Type": "text/plain"}, "invalid_request"),
    ]
    for body, headers, error in bodies:
        assert refused(await client.post("/v1/oauth/token", content=body, headers=headers, auth=auth), error), body


async def test_rotated_secrets_overlap_and_end(scene: Scene) -> None:
    developer = await scene.key(await scene.merchant("Rotator"))
    app = await scene.app_of(developer)
    path = f"/v1/developer/partner/apps/{app['partner_app_id']}"
    new = (await developer.post(f"{path}/rotate-secret", json={})).json()["data"]
    assert new["client_secret"] not in (None, app["client_secret"])
    assert len(new["client_secrets"]) == 2
    for secret in (app["client_secret"], new["client_secret"]):
        assert refused(await scene.token(app | {"client_secret": secret}, code="x"), "invalid_grant")
    newest = (await developer.post(f"{path}/rotate-secret", json={"overlap_s": 0})).json()["data"]
    for secret in (app["client_secret"], new["client_secret"]):
        assert refused(await scene.token(app | {"client_secret": secret}, code="x"), "invalid_client", 401)
    assert refused(await scene.token(app | {"client_secret": newest["client_secret"]}, code="x"), "invalid_grant")
    assert (await developer.get(path)).json()["data"]["client_secret"] is None


# Revocation and introspection


async def test_an_app_gives_its_token_back(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    client, auth = await scene.client(), (scene.app["partner_app_id"], scene.app["client_secret"])
    rival = await scene.app_of(await scene.key(await scene.merchant("Rival")))
    theirs = (rival["partner_app_id"], rival["client_secret"])
    for unknown in ("x", token["access_token"], token["refresh_token"]):
        assert (await client.post("/v1/oauth/revoke", data={"token": unknown}, auth=theirs)).status_code == 200
    assert await scene.works(token)
    assert refused(await client.post("/v1/oauth/revoke", data={}, auth=auth), "invalid_request")
    assert refused(await client.post("/v1/oauth/revoke", data={"token": "x"}), "invalid_client", 401)
    gone = await client.post("/v1/oauth/revoke", data={"token": token["refresh_token"]}, auth=auth)
    assert (gone.status_code, gone.content) == (200, b"")

    async def shut() -> bool:
        return not await scene.works(token)

    await eventually(shut, within_s=1.5)
    assert refused(await _refresh(scene, token), "invalid_grant")


async def test_an_app_looks_into_its_own_tokens_only(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    rival = await scene.app_of(await scene.key(await scene.merchant("Rival")))

    async def look(text: str, app: Json) -> Json:
        client = await scene.client()
        auth = (app["partner_app_id"], app["client_secret"])
        answer = await client.post("/v1/oauth/introspect", data={"token": text}, auth=auth)
        assert answer.status_code == 200
        found: Json = answer.json()
        return found

    seen = await look(token["access_token"], scene.app)
    assert (seen["active"], seen["scope"], seen["token_type"]) == (True, "orders.read", "Bearer")
    assert (seen["client_id"], seen["mode"]) == (scene.app["partner_app_id"], "test")
    assert (await look(token["refresh_token"], scene.app))["active"] is True
    for text in (token["access_token"], token["refresh_token"], "x"):
        assert await look(text, rival) == {"active": False}
    head, body, _ = token["access_token"].split(".")
    assert await look(f"{head}.{body}.", scene.app) == {"active": False}
    await _refresh(scene, token)
    assert await look(token["refresh_token"], scene.app) == {"active": False}


# Access tokens


async def test_a_token_that_is_not_ours_is_nobody_everywhere(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    head, body, signature = token["access_token"].split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for text in (f"{none}.{body}.", f"{head}.{body}.", f"{none}.{body}.{signature}", token["environment_grant_id"]):
        client = await scene.client(text)
        for path in ("/v1/orders", "/v1/channels", "/v1/auth-context"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM_JSON)


async def test_a_refresh_token_or_code_opens_no_route(scene: Scene) -> None:
    code = await scene.code()
    token = (await scene.token(code=code)).json()
    for text in (code, token["refresh_token"], scene.app["client_secret"]):
        assert (await (await scene.client(text)).get("/v1/auth-context")).status_code == 401


# Sessions


async def test_a_session_that_was_planted_is_not_the_one_that_signs_in(scene: Scene) -> None:
    await scene.with_people()
    planted = f"tl_session_{'A' * 43}"
    victim = Person(browser(scene.stack.base_url), scene.person.email)
    async with victim.http:
        victim.http.cookies.set("tl_session", planted)
        signed_in = await victim.sign_in()
        given = signed_in.cookies["tl_session"]
        assert given != planted
        assert (await victim.http.get("/account")).status_code == 200
    async with browser(scene.stack.base_url) as attacker:
        attacker.cookies.set("tl_session", planted)
        assert (await attacker.get("/account")).status_code == 303
        # What was good before the next sign-in of the same browser no longer is.
        again = Person(browser(scene.stack.base_url), scene.person.email)
        async with again.http:
            again.http.cookies.set("tl_session", given)
            await again.http.get("/sign-in")
            page = await again.http.get("/account")
            await again.send(page, "/sign-out")
        attacker.cookies.set("tl_session", given)
        assert (await attacker.get("/account")).status_code == 303


async def test_the_sign_in_form_must_be_ours(scene: Scene) -> None:
    fields = {"email": scene.person.email, "password": PASSWORD}
    async with browser(scene.stack.base_url) as nobody:
        assert (await nobody.post("/sign-in", data=fields)).status_code == 403
        page = await nobody.get("/sign-in")
        stolen = page.text.split('name="csrf" value="')[1].split('"')[0]
    async with browser(scene.stack.base_url) as victim:
        await victim.get("/sign-in")
        answer = await victim.post("/sign-in", data=fields | {"csrf": stolen})
        assert answer.status_code == 403, "logged in as the attacker by the attacker's form"
        assert "tl_session" not in answer.cookies


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(scene: Scene) -> None:
    person = Person(browser(scene.stack.base_url), scene.person.email)
    async with person.http:
        answer = await person.sign_in()
    [cookie] = [text for text in answer.headers.get_list("set-cookie") if text.startswith("tl_session")]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


@pytest.mark.parametrize("next_path", ["https://evil.example/", "//evil.example/", "/\\evil.example", "/v1/orders"])
async def test_signing_in_leads_nowhere_else(scene: Scene, next_path: str) -> None:
    person = Person(browser(scene.stack.base_url), scene.person.email)
    async with person.http:
        answer = await person.sign_in(next_path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        signed_in = await person.http.get(f"/sign-in?next={quote(next_path)}")
        assert signed_in.headers["location"] == "/account"


async def test_guessing_is_held_up_and_an_unknown_address_looks_alike(scene: Scene) -> None:
    await scene.with_people()
    for email in (scene.person.email, "nobody@shop.example"):
        guesser = Person(browser(scene.stack.base_url), email)
        async with guesser.http:
            answers = [await guesser.sign_in(password="wrong wrong wrong") for _ in range(ACCOUNT.free + 1)]
            assert {answer.status_code for answer in answers} == {403}
            right = await guesser.sign_in(password=PASSWORD)
            assert right.status_code == 429
            assert 0 < int(right.headers["retry-after"]) <= 31
            assert "tl_session" not in right.cookies


async def test_an_invitation_works_once(scene: Scene) -> None:
    body = {"email": "late@shop.example", "name": "Late", "role": "clerk", "merchant_id": scene.merchant_id}
    url = (await scene.stack.platform.post("/v1/staff-users", json=body)).json()["data"]["invitation_url"]
    person = Person(browser(scene.stack.base_url), "late@shop.example")
    async with person.http:
        page = await person.http.get(url)
        assert (await person.send(page, "/join", password="short")).status_code == 400
        assert (await person.send(page, "/join", password=PASSWORD)).status_code == 303
        assert (await person.send(page, "/join", password=PASSWORD + "x")).status_code == 404
        assert (await person.http.get(url)).status_code == 404


async def test_an_invitation_does_not_change_the_password_of_who_is_known(scene: Scene) -> None:
    await scene.with_people()
    other = await scene.merchant("Second")
    body = {"email": scene.person.email, "name": "Ada", "role": "owner", "merchant_id": other}
    url = (await scene.stack.platform.post("/v1/staff-users", json=body)).json()["data"]["invitation_url"]
    thief = Person(browser(scene.stack.base_url), scene.person.email)
    async with thief.http:
        page = await thief.http.get(url)
        assert (await thief.send(page, "/join", password="another password")).status_code == 403
        assert (await thief.send(page, "/join", password=PASSWORD)).status_code == 303
        assert (await thief.sign_in()).status_code == 303
