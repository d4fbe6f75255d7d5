"""A merchant's staff over HTTP: who may invite and remove whom, and what becomes of passwords."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from services.apps.core.partner_apps import GRANTABLE_SCOPES
from services.apps.core.staff import ACCOUNT
from shared.clock import utc_now
from shared.contracts.access import SCOPES
from tests.people import PASSWORD, Json, Person, Town, browser
from tests.stack import Stack

pytestmark = pytest.mark.servers

USERS = "/v1/staff-users"
CLERK = {"email": "a@shop.example", "name": "A", "role": "clerk"}


@pytest.fixture
async def town(stack: Stack) -> AsyncIterator[Town]:
    async with AsyncExitStack() as exits:
        yield Town(stack, exits)


def data(answer: httpx2.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


def problem(answer: httpx2.Response) -> tuple[int, str, str | None]:
    body = answer.json()
    return answer.status_code, body["code"], body.get("param")


async def test_staff_are_invited_listed_and_removed(town: Town) -> None:
    merchant_id = await town.merchant()
    key, other = await town.key(merchant_id, "live"), await town.key(await town.merchant(), "live")
    person = await town.person_of(merchant_id, "manager")
    [member] = data(await key.get(USERS))
    assert (member["email"], member["role"]) == (person.email, "manager")
    assert data(await other.get(USERS)) == []
    path = f"{USERS}/{member['staff_user_id']}"
    assert (await other.delete(path)).status_code == 404
    assert (await key.delete(path)).status_code == 204
    assert (await key.delete(path)).status_code == 404
    assert "You do not belong to any merchant" in (await person.http.get("/account")).text


async def test_a_test_key_changes_nothing_about_staff(town: Town) -> None:
    """It would be somebody who lets apps into live."""
    merchant_id = await town.merchant()
    await town.person_of(merchant_id)
    key = await town.key(merchant_id, "test", *SCOPES)
    [owner] = data(await key.get(USERS))
    for role in ("owner", "manager", "clerk"):
        assert problem(await key.post(USERS, json=CLERK | {"role": role}))[:2] == (403, "NOT_ALLOWED")
    # Neither is somebody who belongs to the merchant raised or lowered.
    raised = await key.post(USERS, json={"email": owner["email"], "name": "Ada", "role": "clerk"})
    assert problem(raised)[:2] == (403, "NOT_ALLOWED")
    assert problem(await key.delete(f"{USERS}/{owner['staff_user_id']}"))[:2] == (403, "NOT_ALLOWED")
    assert data(await key.get(USERS)) == [owner]


async def test_nobody_is_invited_who_could_give_more_than_the_key(town: Town) -> None:
    merchant_id = await town.merchant()
    key = await town.key(merchant_id, "live", "keys.write", "orders.write", "apps.write")
    for role in ("owner", "manager"):
        answer = await key.post(USERS, json=CLERK | {"role": role})
        assert problem(answer) == (403, "INSUFFICIENT_SCOPE", "role")
        assert "refunds.write" in answer.json()["missing_scopes"]
        assert "orders.read" not in answer.json()["missing_scopes"]
    for role in ("clerk", "support", "finance"):
        assert (await key.post(USERS, json=CLERK | {"role": role})).status_code == 201
    whole = await town.key(merchant_id, "live", "keys.write", *GRANTABLE_SCOPES)
    for role in ("owner", "manager"):
        assert (await whole.post(USERS, json=CLERK | {"role": role})).status_code == 201
    # Who was let in stays when the key has gone.
    tomorrow = (utc_now() + timedelta(days=1)).isoformat()
    passing = await town.key(merchant_id, "live", *SCOPES, expires_at=tomorrow)
    assert problem(await passing.post(USERS, json=CLERK | {"role": "owner"})) == (403, "NOT_ALLOWED", "role")
    assert (await passing.post(USERS, json=CLERK)).status_code == 201


async def test_who_may_invite(town: Town) -> None:
    merchant_id = await town.merchant()
    body = CLERK
    platform, key = town.stack.platform, await town.key(merchant_id, "live")
    assert problem(await platform.post(USERS, json=body)) == (400, "VALIDATION_FAILED", "merchant_id")
    unknown = await platform.post(USERS, json=body | {"merchant_id": "mer_none"})
    assert problem(unknown)[:2] == (404, "NOT_FOUND")
    foreign = await key.post(USERS, json=body | {"merchant_id": await town.merchant()})
    assert problem(foreign)[:2] == (404, "NOT_FOUND")
    weak = await town.key(merchant_id, "live", "apps.write")
    assert problem(await weak.post(USERS, json=body))[:2] == (403, "INSUFFICIENT_SCOPE")
    for wrong in ({"email": "no address"}, {"email": "<b>@shop.example"}, {"role": "king"}, {"name": ""}):
        assert problem(await key.post(USERS, json=body | wrong))[:2] == (400, "VALIDATION_FAILED")
    headers = {"Idempotency-Key": "invite"}
    made = data(await key.post(USERS, json=body, headers=headers), 201)
    again = data(await key.post(USERS, json=body, headers=headers), 201)
    assert made["invitation_url"].startswith(f"{town.stack.base_url}/join?invitation=tl_invitation_")
    assert again == made | {"invitation_url": None}
    newer = data(await key.post(USERS, json=body | {"role": "support"}), 201)
    async with browser(town.stack.base_url) as nobody:
        assert (await nobody.get(made["invitation_url"])).status_code == 404, "replaced by the newer one"
        assert (await nobody.get(newer["invitation_url"])).status_code == 200


# Passwords that are forgotten, taken or changed

NEW = "slow clouds cross the bay"


async def invited(key: httpx2.AsyncClient, person: Person, **fields: str) -> str:
    return str(data(await key.post(USERS, json=CLERK | {"email": person.email} | fields), 201)["invitation_url"])


async def join(person: Person, url: str, password: str) -> int:
    return (await person.send(await person.http.get(url), "/join", password=password)).status_code


async def reset(town: Town, person: Person) -> Json:
    found: Json = data(await town.stack.platform.post(f"{USERS}/reset-password", json={"email": person.email.upper()}))
    return found


async def can_sign_in(town: Town, person: Person, password: str) -> bool:
    async with browser(town.stack.base_url) as http:
        return (await Person(http, person.email).sign_in(password=password)).status_code == 303


async def test_who_forgot_a_password_chooses_another_by_the_platforms_invitation(town: Town) -> None:
    merchant_id, other_id = await town.merchant(), await town.merchant("Other")
    person = await town.person_of(merchant_id, "manager")
    key = await town.key(merchant_id, "live", *SCOPES)
    before = await invited(town.stack.platform, person, merchant_id=other_id)
    found = await reset(town, person)
    assert (found["email"], found["memberships"]) == (person.email, [{"merchant_id": merchant_id, "role": "manager"}])
    assert not await can_sign_in(town, person, PASSWORD)
    assert (await person.http.get("/account")).status_code == 303, "signed out"
    assert (await person.http.get(before)).status_code == 404, "withdrawn"
    [member] = data(await key.get(USERS))
    assert (member["email"], member["role"]) == (person.email, "manager")
    url = await invited(town.stack.platform, person, role="manager", merchant_id=merchant_id)
    assert await join(person, url, NEW) == 303
    assert await can_sign_in(town, person, NEW)
    log = data(await key.get("/v1/audit-log", params={"action": "staff_user.password_reset"}))
    assert [(entry["actor"]["type"], entry["target_id"]) for entry in log] == [("platform", found["staff_user_id"])]


async def test_no_merchant_comes_in_as_somebody_whose_password_was_reset(town: Town) -> None:
    """Whoever invites somebody sees the invitation."""
    victim = await town.person_of(await town.merchant("Victim's"))
    thief_id = await town.merchant("Thief's")
    key = await town.key(thief_id, "live", *SCOPES)
    await reset(town, victim)
    url = await invited(key, victim)
    async with browser(town.stack.base_url) as http:
        thief = Person(http, victim.email)
        page = await http.get(url)
        assert "Your password was reset" in page.text
        assert "<form" not in page.text
        elsewhere = {"email": f"nobody-of-{victim.email}", "merchant_id": thief_id}
        form = await http.get(await invited(town.stack.platform, victim, **elsewhere))
        forced = await thief.send(form, "/join", invitation=url.partition("invitation=")[2], password=NEW)
        assert forced.status_code == 403
    assert not await can_sign_in(town, victim, NEW)


async def test_an_address_that_somebody_else_took_is_given_back(town: Town) -> None:
    thief_id, merchant_id = await town.merchant("Thief's"), await town.merchant()
    taken = await town.person_of(thief_id)
    person = Person(await town.client(), taken.email)
    url = await invited(town.stack.platform, person, merchant_id=merchant_id)
    assert await join(person, url, NEW) == 403, "they would need the thief's password"
    await reset(town, person)
    assert (await taken.http.get("/account")).status_code == 303
    url = await invited(town.stack.platform, person, merchant_id=merchant_id)
    assert await join(person, url, NEW) == 303
    assert not await can_sign_in(town, person, PASSWORD)
    assert await can_sign_in(town, person, NEW)


async def test_nobody_is_reset_who_is_not_known(town: Town) -> None:
    answer = await town.stack.platform.post(f"{USERS}/reset-password", json={"email": "nobody@nowhere.example"})
    assert problem(answer)[:2] == (404, "NOT_FOUND")


async def test_somebody_changes_their_password(town: Town) -> None:
    merchant_id = await town.merchant()
    person = await town.person_of(merchant_id)
    elsewhere = Person(await town.client(), person.email)
    await elsewhere.sign_in()
    path = "/account/password"
    assert f'href="{path}"' in (await person.http.get("/account")).text
    page = await person.http.get(path)
    tries = [
        ({"password": "not this one", "new": NEW}, 403),
        ({"password": PASSWORD, "new": "short"}, 400),
        ({"password": PASSWORD, "new": NEW, "csrf": "0"}, 403),
    ]
    for fields, status in tries:
        assert (await person.send(page, path, **fields)).status_code == status
    assert (await elsewhere.http.get("/account")).status_code == 200
    changed = await person.send(page, path, password=PASSWORD, new=NEW)
    assert (changed.status_code, changed.headers["location"]) == (303, "/account")
    assert (await person.http.get("/account")).status_code == 200
    assert (await elsewhere.http.get("/account")).status_code == 303, "signed out there"
    assert not await can_sign_in(town, person, PASSWORD)
    assert await can_sign_in(town, person, NEW)
    key = await town.key(merchant_id)
    [entry] = data(await key.get("/v1/audit-log", params={"action": "staff_user.password_changed"}))
    assert entry["actor"] == {"type": "operator", "id": entry["target_id"]}


async def test_guessing_at_a_password_to_change_it_is_held_up(town: Town) -> None:
    person = await town.person_of(await town.merchant())
    page = await person.http.get("/account/password")
    answers = [
        await person.send(page, "/account/password", password="a guess", new=NEW) for _ in range(ACCOUNT.free + 2)
    ]
    assert [answer.status_code for answer in answers] == [403] * (ACCOUNT.free + 1) + [429]
    async with browser(town.stack.base_url) as nobody:
        assert (await nobody.get("/account/password")).status_code == 303
        assert (await nobody.post("/account/password", data={"new": NEW})).status_code == 303
