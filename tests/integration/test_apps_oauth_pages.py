"""What somebody may try with consent, its pages and sessions, and that nothing comes of it."""

import re
from html import unescape
from urllib.parse import quote

import httpx2
import pytest

from services.apps.core.staff import ACCOUNT
from tests.oauth_scene import AUTHORIZE, Scene, refused
from tests.people import PASSWORD, READ, REDIRECT, Json, Person, belongs_to_many, browser, query_of
from tests.stack import eventually

pytestmark = pytest.mark.servers

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


def _csrf(page: httpx2.Response) -> str:
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


def shops(page: httpx2.Response) -> list[str]:
    return re.findall(r"Shop \d\d", page.text)


async def test_one_of_many_merchants_is_found_and_what_was_chosen_stays(scene: Scene) -> None:
    await scene.with_people()
    await belongs_to_many(scene.stack, scene.person, 60)
    page = await scene.person.http.get(scene.request(permission_ids="refund"))
    assert len(shops(page)) < 60
    assert "There are more of them" in page.text
    chosen = {"permission": "refund", "mode": "test"}
    page = await scene.person.send(page, AUTHORIZE, decision="find", called=" shop 5", **chosen)
    assert page.status_code == 200
    assert shops(page) == [f"Shop {number}" for number in range(50, 60)]
    assert 'value="shop 5"' in page.text
    assert 'value="refund" checked' in page.text
    page = await scene.person.send(page, AUTHORIZE, decision="find", called="SHOP 57")
    answer = await scene.person.send(page, AUTHORIZE, decision="approve", mode="test")
    assert answer.status_code == 303
    nothing = await scene.person.send(page, AUTHORIZE, decision="find", called='<b>%_"')
    assert "none that is called so" in nothing.text
    assert "&lt;b&gt;%_&quot;" in nothing.text
    assert (await scene.person.send(nothing, AUTHORIZE, decision="approve", mode="test")).status_code == 400


async def test_a_form_of_another_site_chooses_nothing(scene: Scene) -> None:
    chosen = {"permission": "refund", "mode": "test", "called": "Rain", "decision": "find", "csrf": "x"}
    page = await scene.person.http.post(scene.request(permission_ids="refund"), data=chosen)
    assert page.status_code == 403
    assert "checked" not in page.text
    assert 'value="Rain"' not in page.text


async def test_many_merchants_are_paged_and_found_on_their_page(scene: Scene) -> None:
    await scene.with_people()
    await belongs_to_many(scene.stack, scene.person, 45, "clerk")
    found: list[str] = []
    path = "/account"
    while path:
        page = await scene.person.http.get(path)
        assert page.status_code == 200
        found += shops(page)
        assert len(shops(page)) <= 20
        [path] = re.findall(r'href="([^"]+)">More of your merchants', page.text) or [""]
        path = unescape(path)
    assert found == [f"Shop {number:02}" for number in range(1, 46)]
    page = await scene.person.http.get("/account", params={"called": "SHOP 3"})
    assert shops(page) == [f"Shop {number}" for number in range(30, 40)]
    assert 'value="SHOP 3"' in page.text
    page = await scene.person.http.get("/account", params={"called": "shop\u202e 3%"})
    assert "None of your merchants is called so" in page.text
    # Where another's merchant stands among the names is nobody's business.
    other = await scene.merchant("Shop 20a")
    assert shops(await scene.person.http.get("/account", params={"beyond": other})) == []


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
