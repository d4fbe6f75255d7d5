"""Sign-in at the company's own provider."""

from contextlib import AsyncExitStack
from typing import Any

import pytest

from services.apps.core.staff import ACCOUNT, ADDRESS
from shared.ids import new_id
from tests.apps import run
from tests.oidc_scene import BEGIN, CALLBACK, CONNECT, Scene, is_signed_in, refused, staged
from tests.people import PASSWORD, Town, browser
from tests.stack import Stack

pytestmark = pytest.mark.servers


async def acts(oidc: Scene, email: str) -> list[str]:
    rows = await run(
        oidc.town.stack,
        """
        SELECT action FROM audit_log JOIN staff_users ON user_id = target_id WHERE email = $1
        ORDER BY audit_log.created_at, audit_entry_id
        """,
        email,
    )
    return [row["action"] for row in rows]


async def test_somebody_who_was_invited_comes_in_and_joins_without_a_password(oidc: Scene) -> None:
    merchant_id = await oidc.town.merchant()
    person, invitation = await oidc.newcomer(merchant_id)
    page = await person.http.get("/sign-in?next=/account")
    assert "Sign in with Rain &amp; Shine &lt;SSO&gt;" in page.text
    assert f'href="{BEGIN}?next=%2Faccount"' in page.text
    answer = await oidc.sign_in(person)
    assert is_signed_in(answer)
    assert answer.headers["location"] == "/account"
    assert "You do not belong to any merchant" in (await person.http.get("/account")).text
    offer = await person.http.get(invitation)
    assert 'type="password"' not in offer.text
    assert (await person.send(offer, "/join")).headers["location"] == "/account"
    assert "Your role: manager" in (await person.http.get("/account")).text
    # From now on the provider's word is all it takes, and the log says who came how.
    assert is_signed_in(await oidc.sign_in(await oidc.visitor()))
    assert await acts(oidc, person.email) == ["staff_user.invited", "staff_user.joined", "staff_user.signed_in"]
    [entry] = await run(
        oidc.town.stack,
        "SELECT changes::text FROM audit_log WHERE merchant_id = $1 AND action = 'staff_user.signed_in'",
        merchant_id,
    )
    assert oidc.provider.issuer in entry["changes"]


async def test_an_invitation_cannot_give_a_password_to_somebody_who_is_connected(oidc: Scene) -> None:
    """Whoever invites somebody sees the invitation, and must not come in with it as that person."""
    person, _ = await oidc.newcomer(await oidc.town.merchant("Victim's"))
    assert is_signed_in(await oidc.sign_in(person))
    invitation = await oidc.invited(person.email, await oidc.town.merchant("Thief's"))
    thief = await oidc.visitor()
    page = await thief.http.get(invitation)
    assert "sign in" in page.text
    assert 'type="password"' not in page.text
    other = await oidc.town.person_of(await oidc.town.merchant())
    form = await other.http.get(await oidc.invited(f"{new_id('p').lower()}@shop.example", await oidc.town.merchant()))
    secret = invitation.partition("invitation=")[2]
    forced = await other.send(form, "/join", invitation=secret, password=PASSWORD)
    assert forced.status_code == 403
    [user] = await run(oidc.town.stack, "SELECT password_hash FROM staff_users WHERE email = $1", person.email)
    assert user["password_hash"] is None


async def test_an_account_with_a_password_is_connected_by_giving_it_once(oidc: Scene) -> None:
    known = await oidc.town.person_of(await oidc.town.merchant())
    oidc.vouches_for(known.email.upper())
    person = await oidc.visitor()
    page = await oidc.sign_in(person, "/v1/oauth/authorize?client_id=x")
    assert (page.status_code, "tl_session" in page.cookies) == (200, False)
    assert known.email in page.text
    assert refused(await person.send(page, CONNECT, password="not this one"), "not the password")
    again = await person.send(page, CONNECT, password=PASSWORD)
    assert is_signed_in(again)
    assert again.headers["location"] == "/v1/oauth/authorize?client_id=x"
    assert is_signed_in(await oidc.sign_in(await oidc.visitor()))
    with_password = await oidc.visitor()
    with_password.email = known.email
    assert is_signed_in(await with_password.sign_in()), "the password is there for when the provider is not"
    assert (await acts(oidc, known.email))[-5:] == [
        "staff_user.sign_in_failed",
        "staff_user.connected",
        "staff_user.signed_in",
        "staff_user.signed_in",
        "staff_user.signed_in",
    ]
    # The flow is over: its form counts no more.
    assert refused(await person.send(page, CONNECT, password=PASSWORD), "page had been open")


async def test_guesses_at_the_password_while_connecting_are_held_up(oidc: Scene) -> None:
    known = await oidc.town.person_of(await oidc.town.merchant())
    oidc.vouches_for(known.email)
    person = await oidc.visitor()
    page = await oidc.sign_in(person)
    answers = [await person.send(page, CONNECT, password="not this one") for _ in range(ACCOUNT.free + 1)]
    assert [answer.status_code for answer in answers] == [403] * (ACCOUNT.free + 1)
    held_up = await person.send(page, CONNECT, password=PASSWORD)
    assert refused(held_up, "Too many attempts", 429)
    assert int(held_up.headers["retry-after"]) > 0


async def test_an_address_from_which_too_much_failed_is_not_heard(oidc: Scene) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    back = await oidc.to_provider(person)
    forged = await oidc.visitor()
    for _ in range(ADDRESS.free + 1):
        assert (await forged.http.get(f"{CALLBACK}?code=guess&state=guess")).status_code == 403
    assert refused(await person.http.get(back), "Too many attempts", 429)
    assert "/token" not in oidc.provider.asked


async def test_the_identity_decides_once_it_is_connected(oidc: Scene) -> None:
    """An address that is given to somebody else at the provider does not give the account away."""
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    assert is_signed_in(await oidc.sign_in(person))
    oidc.vouches_for(person.email, sub="somebody-else")
    assert refused(await oidc.sign_in(await oidc.visitor()), "another account")
    oidc.vouches_for("renamed@shop.example", sub=f"at-the-provider-{person.email}")
    again = await oidc.visitor()
    assert is_signed_in(await oidc.sign_in(again))
    assert person.email in (await again.http.get("/account")).text


async def test_who_is_not_known_stays_out(oidc: Scene) -> None:
    oidc.vouches_for("stranger@shop.example")
    assert refused(await oidc.sign_in(await oidc.visitor()), "Nobody has been invited")
    assert await run(oidc.town.stack, "SELECT FROM staff_users WHERE email = 'stranger@shop.example'") == []


@pytest.mark.parametrize("verified", [False, None, "true", 1])
async def test_an_address_that_is_not_verified_is_nobodys(oidc: Scene, verified: object) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    oidc.vouches_for(person.email, email_verified=verified)
    assert refused(await oidc.sign_in(person), "has not been verified")


async def test_a_provider_that_wants_the_secret_in_the_body_gets_it_there(stack: Stack) -> None:
    async with staged(stack) as oidc:
        oidc.provider.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
        person, _ = await oidc.newcomer(await oidc.town.merchant())
        assert is_signed_in(await oidc.sign_in(person))


# The provider away


@pytest.mark.parametrize("path", ["/token", "/jwks"])
async def test_a_provider_that_does_not_answer_is_said_so_and_passwords_still_work(oidc: Scene, path: str) -> None:
    known = await oidc.town.person_of(await oidc.town.merchant(), signed_in=False)
    oidc.vouches_for(known.email)
    person = await oidc.visitor()
    oidc.provider.down = {path}
    page = await oidc.sign_in(person)
    assert refused(page, "does not work right now", 503)
    signed_in = await person.send(page, "/sign-in", email=known.email, password=PASSWORD)
    assert is_signed_in(signed_in)


WRONG_DISCOVERY: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "keys at an address inside": {"jwks_uri": "http://169.254.169.254/latest/meta-data"},
    "tokens at an address inside": {"token_endpoint": "file:///etc/passwd"},
    "no token endpoint": {"token_endpoint": None},
    "people sent to a script": {"authorization_endpoint": "javascript:alert(1)"},
}


@pytest.mark.parametrize("wrong", WRONG_DISCOVERY)
async def test_a_provider_that_describes_itself_wrongly_is_not_used(stack: Stack, wrong: str) -> None:
    async with staged(stack) as oidc:
        oidc.provider.discovery = WRONG_DISCOVERY[wrong]
        person = await oidc.visitor()
        page = await person.http.get(f"{BEGIN}?next=/account")
        assert refused(page, "does not work right now", 503)
        assert "location" not in page.headers
        oidc.provider.discovery = {}
        assert (await person.http.get(BEGIN)).status_code == 303, "once it is right again"


async def test_the_guard_of_outgoing_requests_holds_here_too(stack: Stack) -> None:
    async with staged(stack, local=False) as oidc:
        person = await oidc.visitor()
        assert refused(await person.http.get(BEGIN), "does not work right now", 503)
        assert oidc.provider.asked == []


# Whom it lets in


async def test_only_some_domains_and_newcomers_join(stack: Stack) -> None:
    async with AsyncExitStack() as exits:
        merchant_id = await Town(stack, exits).merchant("Ours")
        options = {"allowed_domains": "OURS.example, shop.example", "join_merchant_id": merchant_id}
        async with staged(stack, **options, join_role="clerk") as oidc:
            oidc.vouches_for("ada@evil.example")
            assert refused(await oidc.sign_in(await oidc.visitor()), "of this domain")
            oidc.vouches_for("ada@ours.example.evil.example")
            assert refused(await oidc.sign_in(await oidc.visitor()), "of this domain")
            oidc.vouches_for("Grace@Ours.example", name="Grace H.")
            person = await oidc.visitor()
            assert is_signed_in(await oidc.sign_in(person))
            page = (await person.http.get("/account")).text
            assert "Ours" in page
            assert "Your role: clerk" in page
            assert await acts(oidc, "grace@ours.example") == ["staff_user.joined", "staff_user.signed_in"]
            # Whoever was taken out again does not come back by signing in.
            await run(stack, "DELETE FROM staff_memberships WHERE merchant_id = $1", merchant_id)
            assert is_signed_in(await oidc.sign_in(person))
            assert "You do not belong to any merchant" in (await person.http.get("/account")).text


async def test_a_claim_says_who_may_come_in_and_as_what(stack: Stack) -> None:
    async with AsyncExitStack() as exits:
        merchant_id = await Town(stack, exits).merchant("Ours")
        async with staged(stack, roles_claim="groups", join_merchant_id=merchant_id) as oidc:
            for groups in (None, [], "staff", ["staff", {"owner": 1}], {"owner": True}):
                oidc.vouches_for("alan@ours.example", groups=groups)
                assert refused(await oidc.sign_in(await oidc.visitor()), "no role"), groups
            oidc.vouches_for("alan@ours.example", groups=["staff", "clerk", "finance"])
            person = await oidc.visitor()
            assert is_signed_in(await oidc.sign_in(person))
            assert "Your role: finance" in (await person.http.get("/account")).text


async def test_without_a_provider_there_is_no_button_and_no_way(stack: Stack) -> None:
    async with browser(stack.base_url) as nobody:
        assert BEGIN not in (await nobody.get("/sign-in")).text
        answers = [await nobody.get(path) for path in (BEGIN, CALLBACK)]
        answers.append(await nobody.post(CONNECT, data={"password": PASSWORD}))
        for answer in answers:
            assert answer.status_code == 404
            assert "no other way to sign in" in answer.text
