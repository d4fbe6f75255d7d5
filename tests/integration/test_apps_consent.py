"""What somebody may try with the consent form and the account page, and that nothing comes of it."""

import re
from html import unescape

import httpx2
import pytest

from tests.oauth_scene import AUTHORIZE, Scene, refused
from tests.people import READ, REDIRECT, REFUND, Json, Person, belongs_to_many, query_of
from tests.stack import eventually

pytestmark = pytest.mark.servers


async def test_a_form_of_another_site_approves_nothing(scene: Scene) -> None:
    page = await scene.person.http.get(scene.request())
    fields = {"decision": "approve", "merchant_id": scene.merchant_id, "mode": "test", "shown": _hidden(page, "shown")}
    stranger = await scene.person_of(await scene.merchant("Stranger"))
    other = await stranger.http.get(scene.request())
    tries: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": "\u00e9" * 64}, {}),
        ({"csrf": _hidden(other, "csrf")}, {}),
        ({"csrf": _hidden(page, "csrf")}, {"Origin": "https://evil.example"}),
        ({"csrf": _hidden(page, "csrf")}, {"Origin": "null"}),
        ({"csrf": _hidden(page, "csrf")}, {"Sec-Fetch-Site": "cross-site"}),
        ({"csrf": _hidden(page, "csrf")}, {"Sec-Fetch-Site": "same-site"}),
    ]
    for more, headers in tries:
        answer = await scene.person.http.post(scene.request(), data=fields | more, headers=headers)
        assert answer.status_code == 403, (more, headers)
        assert "location" not in answer.headers
    right = {"Origin": scene.stack.base_url, "Sec-Fetch-Site": "same-origin"}
    ours = fields | {"csrf": _hidden(page, "csrf")}
    answer = await scene.person.http.post(scene.request(), data=ours, headers=right)
    assert "code" in query_of(answer.headers["location"])


def _hidden(page: httpx2.Response, name: str) -> str:
    return page.text.split(f'action="{AUTHORIZE}')[1].split(f'name="{name}" value="')[1].split('"')[0]


BUDGET = {"effect": "refund", "limit_money": {"amount": 5_000, "currency": "EUR"}, "period": "day"}


@pytest.mark.parametrize(
    "change",
    [
        {"manifest": [READ | {"required_scopes": ["orders.read", "refunds.write"]}, REFUND]},
        {"manifest": [READ, REFUND | {"optional": False}]},
        {"manifest": [READ, REFUND | {"required_scopes": ["payments.write"]}]},
        {"manifest": [READ | {"description": "For whatever we like."}, REFUND]},
        {"money_budgets": [BUDGET]},
        {"name": "Your bank"},
    ],
)
async def test_what_was_not_shown_is_not_approved(scene: Scene, change: Json) -> None:
    developer = await scene.key(await scene.merchant("Toolmaker"))
    scene.app = await scene.app_of(developer)
    page = await scene.person.http.get(scene.request(permission_ids="refund"))
    changed = await developer.patch(f"/v1/developer/partner/apps/{scene.app['partner_app_id']}", json=change)
    assert changed.status_code == 200, changed.text
    for decision in ("find", "approve"):
        again = await scene.person.send(page, AUTHORIZE, decision=decision, permission="refund")
        assert (again.status_code, again.headers.get("location")) == (409, None)
        assert "has changed what it asks for" in again.text
        assert "checked" not in again.text
    answer = await scene.person.send(again, AUTHORIZE, decision="approve")
    assert "code" in query_of(answer.headers["location"]), "now it was shown"


async def test_who_refuses_need_not_look_again(scene: Scene) -> None:
    page = await scene.person.http.get(scene.request())
    answer = await scene.person.send(page, AUTHORIZE, decision="refuse", shown="")
    assert query_of(answer.headers["location"])["error"] == "access_denied"


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
    shown = _hidden(await scene.person.http.get(scene.request()), "shown")
    fields = {"decision": "approve", "merchant_id": scene.merchant_id, "mode": "test", "shown": shown}
    answer = await person.http.post(scene.request(), data=fields | {"csrf": await _own_csrf(person)})
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
