"""What somebody may try with authorization requests and sessions, and that nothing comes of it."""

import secrets
from urllib.parse import quote

import pytest

from services.apps.core.staff import ACCOUNT
from tests.apps import run
from tests.oauth_scene import AUTHORIZE, Scene
from tests.people import PASSWORD, REDIRECT, Person, browser, query_of

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


async def test_who_is_not_signed_in_is_sent_to_no_app(scene: Scene) -> None:
    for changes in ({"response_type": "x"}, {"state": None}, {"permission_ids": "steal"}):
        path = scene.request(**changes)
        person = Person(browser(scene.stack.base_url), scene.person.email)
        async with person.http:
            for answer in (await person.http.get(path), await person.http.post(path, data={"decision": "refuse"})):
                assert answer.status_code == 303
                assert answer.headers["location"].startswith(f"/sign-in?next={quote(AUTHORIZE, safe='')}")
            to_app = (await person.sign_in(query_of(answer.headers["location"])["next"])).headers["location"]
            assert query_of(to_app) == query_of(path)
            told = await person.http.get(to_app)
            assert told.headers["location"].startswith(f"{REDIRECT}&error=")


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


async def test_all_addresses_of_one_ipv6_network_wait_together(scene: Scene) -> None:
    network = f"2001:db8:{secrets.token_hex(2)}:1"
    for address in (f"{network}::1", f"{network}:ffff::2", f"{network[:-1]}2::1"):
        guesser = Person(browser(scene.stack.base_url), f"nobody-{secrets.token_hex(3)}@shop.example")
        async with guesser.http:
            guesser.http.headers["X-Forwarded-For"] = address
            assert (await guesser.sign_in()).status_code == 403
    known = "SELECT subject, failures FROM sign_in_failures WHERE subject LIKE $1 ORDER BY failures DESC"
    [(one, twice), (other, once)] = await run(scene.stack, known, "address:2001:db8:%")
    assert (twice, once) == (2, 1)
    assert one != other


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
