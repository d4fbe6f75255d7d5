"""A merchant's staff over HTTP: who may invite and remove whom."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from services.apps.core.partner_apps import GRANTABLE_SCOPES
from shared.clock import utc_now
from shared.contracts.access import SCOPES
from tests.people import Town, browser
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
