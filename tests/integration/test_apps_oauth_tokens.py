"""What somebody may try with codes, tokens and client secrets, and that nothing comes of it."""

import asyncio
import base64
from typing import Any

import httpx2
import pytest

from services.apps.core.authorization import challenge_of
from shared.http.problems import PROBLEM_JSON
from tests.apps import run
from tests.oauth_scene import AUTHORIZE, VERIFIER, Scene, refused
from tests.people import Json, query_of
from tests.stack import eventually

pytestmark = pytest.mark.servers

# Codes


async def test_a_code_works_once_and_a_second_use_ends_what_it_gave(scene: Scene) -> None:
    code = await scene.code()
    first = await scene.token(code=code)
    assert first.status_code == 200, first.text
    token = first.json()
    assert await scene.works(token)
    assert refused(await scene.token(code=code), "invalid_grant")
    await _all_is_shut(scene, token)


async def _refresh(
    scene: Scene, token: Json, app: Json | None = None, key: str | None = None, **more: str
) -> httpx2.Response:
    fields = {"grant_type": "refresh_token", "redirect_uri": None, "code_verifier": None} | more
    return await scene.token(app, key, refresh_token=token["refresh_token"], **fields)


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


async def test_what_was_approved_last_counts_in_whatever_order_codes_come(scene: Scene) -> None:
    page = await scene.person.http.get(scene.request(permission_ids="refund"))
    wide = await scene.person.send(page, AUTHORIZE, decision="approve", permission="refund")
    narrow = await scene.person.send(page, AUTHORIZE, decision="approve")
    earlier, later = (query_of(answer.headers["location"])["code"] for answer in (wide, narrow))
    token = (await scene.token(code=later)).json()
    assert token["scope"] == "orders.read"
    assert refused(await scene.token(code=earlier), "invalid_grant")
    client = await scene.client(token["access_token"])
    assert (await client.get("/v1/auth-context")).json()["data"]["scopes"] == ["orders.read"]
    assert (await _refresh(scene, token)).json()["scope"] == "orders.read"


async def test_an_approval_leaves_the_codes_of_others_alone(scene: Scene) -> None:
    other = await scene.app_of(await scene.key(await scene.merchant("Rival")), name="Rival")
    code = await scene.code()
    theirs = await scene.code(client_id=other["partner_app_id"])
    assert (await scene.token(code=code)).status_code == 200
    assert (await scene.token(other, code=theirs)).status_code == 200


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


async def look(scene: Scene, text: str, app: Json | None = None) -> Json:
    client, app = await scene.client(), app or scene.app
    auth = (app["partner_app_id"], app["client_secret"])
    answer = await client.post("/v1/oauth/introspect", data={"token": text}, auth=auth)
    assert answer.status_code == 200
    found: Json = answer.json()
    return found


async def test_an_app_looks_into_its_own_tokens_only(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    rival = await scene.app_of(await scene.key(await scene.merchant("Rival")))

    seen = await look(scene, token["access_token"])
    assert (seen["active"], seen["scope"], seen["token_type"]) == (True, "orders.read", "Bearer")
    assert (seen["client_id"], seen["mode"]) == (scene.app["partner_app_id"], "test")
    assert (await look(scene, token["refresh_token"]))["active"] is True
    for text in (token["access_token"], token["refresh_token"], "x"):
        assert await look(scene, text, rival) == {"active": False}
    head, body, _ = token["access_token"].split(".")
    assert await look(scene, f"{head}.{body}.") == {"active": False}
    await _refresh(scene, token)
    assert await look(scene, token["refresh_token"]) == {"active": False}


async def test_a_token_that_is_refused_everywhere_is_not_active(scene: Scene) -> None:
    await scene.with_people()
    token = (await scene.token(code=await scene.code())).json()
    for status, active in (("suspended", False), ("active", True), ("closed", False)):
        changed = await scene.stack.platform.patch(f"/v1/merchants/{scene.merchant_id}", json={"status": status})
        assert changed.status_code == 200, changed.text
        for text in (token["access_token"], token["refresh_token"]):
            assert (await look(scene, text))["active"] is active


# Lost answers


async def test_a_code_whose_answer_was_lost_gives_tokens_again(scene: Scene) -> None:
    code = await scene.code()
    lost = (await scene.token(code=code, key="install-1")).json()
    again = await scene.token(code=code, key="install-1")
    assert again.status_code == 200, again.text
    token = again.json()
    assert token["environment_grant_id"] == lost["environment_grant_id"]
    assert await scene.works(token)
    assert (await _refresh(scene, token)).status_code == 200
    assert refused(await scene.token(code=code, key="install-1"), "invalid_grant"), "its tokens have been used"
    await _all_is_shut(scene, token)


async def test_a_refresh_whose_answer_was_lost_gives_tokens_again(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    for round_number in range(3):
        answers = [await _refresh(scene, token, key=f"refresh-{round_number}") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 200], answers[-1].text
        assert len({answer.json()["refresh_token"] for answer in answers}) == 3
        token = answers[-1].json()
        assert await scene.works(token)
    assert refused(await _refresh(scene, token, key="refresh-3", scope="refunds.write"), "invalid_scope")
    assert (await _refresh(scene, token, key="refresh-3")).status_code == 200


@pytest.mark.parametrize("key", [None, "another"])
async def test_only_who_has_the_key_can_repeat(scene: Scene, key: str | None) -> None:
    token = (await scene.token(code=await scene.code())).json()
    new = (await _refresh(scene, token, key="mine")).json()
    assert refused(await _refresh(scene, token, key=key), "invalid_grant")
    await _all_is_shut(scene, new)


async def test_a_key_that_comes_later_repeats_nothing(scene: Scene) -> None:
    code = await scene.code()
    token = (await scene.token(code=code)).json()
    new = (await _refresh(scene, token)).json()
    assert refused(await _refresh(scene, token, key="mine"), "invalid_grant")
    await _all_is_shut(scene, new)


async def test_tokens_that_were_given_anew_and_then_used_are_a_thiefs(scene: Scene) -> None:
    """Either the first answer was not lost, or the second went to somebody else."""
    token = (await scene.token(code=await scene.code())).json()
    first = (await _refresh(scene, token, key="mine")).json()
    second = (await _refresh(scene, token, key="mine")).json()
    assert refused(await _refresh(scene, first), "invalid_grant")
    await _all_is_shut(scene, second)


async def test_the_same_refresh_twice_at_once_leaves_one_pair_that_works(scene: Scene) -> None:
    token = (await scene.token(code=await scene.code())).json()
    answers = await asyncio.gather(*(_refresh(scene, token, key="mine") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    work = [await scene.works(answer.json()) for answer in answers]
    assert all(work), "access tokens name the grant, which lives"


async def test_a_code_that_is_repeated_with_another_verifier_ends_what_it_gave(scene: Scene) -> None:
    code = await scene.code()
    token = (await scene.token(code=code, key="mine")).json()
    assert refused(await scene.token(code=code, key="mine", code_verifier="w" * 64), "invalid_grant")
    await _all_is_shut(scene, token)


@pytest.mark.parametrize("of_a_code", [True, False])
async def test_what_was_lost_can_be_asked_for_within_a_day_of_the_first_time(scene: Scene, of_a_code: bool) -> None:
    code = await scene.code()
    first = (await scene.token(code=code, key="mine")).json()
    grant_id = first["environment_grant_id"]

    async def repeat() -> httpx2.Response:
        return await (scene.token(code=code, key="mine") if of_a_code else _refresh(scene, first, key="mine"))

    async def hours_pass(hours: int) -> None:
        earlier = "UPDATE refresh_tokens SET created_at = created_at - make_interval(hours => $2) WHERE grant_id = $1"
        await run(scene.stack, earlier, grant_id, hours)

    assert (await repeat()).status_code == 200
    await hours_pass(23)
    again = await repeat()
    assert again.status_code == 200, again.text
    await hours_pass(2)
    assert refused(await repeat(), "invalid_grant"), "no repeat begins the day anew"
    await _all_is_shut(scene, again.json())


async def test_a_key_must_be_one(scene: Scene) -> None:
    code = await scene.code()
    assert refused(await scene.token(code=code, key="two words"), "invalid_request")
    assert (await scene.token(code=code)).status_code == 200


async def _all_is_shut(scene: Scene, token: Json) -> None:
    async def shut() -> bool:
        return not await scene.works(token)

    await eventually(shut, within_s=1.5)
    assert refused(await _refresh(scene, token), "invalid_grant")


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
