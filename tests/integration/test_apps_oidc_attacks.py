"""What somebody may try with sign-in at a provider, and that nothing comes of it."""

from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.apps import run
from tests.oidc_provider import CLIENT_ID, Provider
from tests.oidc_scene import CONNECT, Scene, is_signed_in, refused
from tests.people import PASSWORD, query_of

pytestmark = pytest.mark.servers


Change = Callable[[Provider], None]


def token(**claims: Any) -> Change:
    return lambda provider: provider.token.update(claims)


FORGERIES: dict[str, Change] = {
    "another audience": token(aud="another-client"),
    "another audience, made for this client": token(aud="another-client", azp=CLIENT_ID),
    "several other audiences, made for this client": token(aud=["another", "a-third"], azp=CLIENT_ID),
    "several audiences, made for another of them": token(aud=[CLIENT_ID, "another"], azp="another"),
    "several audiences and no word for whom": token(aud=[CLIENT_ID, "another"]),
    "another issuer": token(iss="https://evil.example"),
    "another nonce": token(nonce="n" * 43),
    "no nonce": token(nonce=None),
    "over": token(exp=1_600_000_000),
    "without an end": token(exp=None),
    "of tomorrow": token(iat=4_000_000_000, nbf=4_000_000_000),
    "for another access token": token(at_hash="A" * 22),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_an_id_token_that_is_not_for_this_sign_in_is_refused(oidc: Scene, forgery: str) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    FORGERIES[forgery](oidc.provider)
    assert refused(await oidc.sign_in(person), "not valid")
    oidc.provider.token.clear()
    assert is_signed_in(await oidc.sign_in(person))


def forged_none(provider: Provider) -> None:
    provider.alg = "none"


def forged_hs256(provider: Provider) -> None:
    """Signed with the public key as if it were a secret."""
    provider.alg = "HS256"


def forged_key(provider: Provider) -> None:
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)


def forged_kid(provider: Provider) -> None:
    provider.signing_key, provider.kid = RSAKey.generate_key(2048, {"kid": "two"}, private=True), "two"


@pytest.mark.parametrize("forge", [forged_none, forged_hs256, forged_key, forged_kid])
async def test_an_id_token_that_the_provider_did_not_sign_is_refused(oidc: Scene, forge: Change) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    forge(oidc.provider)
    assert refused(await oidc.sign_in(person), "not valid")


async def test_the_provider_changes_its_key_and_kind_of_key(oidc: Scene) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    assert is_signed_in(await oidc.sign_in(person))
    oidc.provider.key = ECKey.generate_key("P-256", {"kid": "three"}, private=True)
    oidc.provider.alg, oidc.provider.kid = "ES256", "three"
    assert is_signed_in(await oidc.sign_in(person))


async def test_an_answer_counts_in_the_browser_that_asked_and_once(oidc: Scene) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    back = await oidc.to_provider(person)
    # Sent to a victim, who would be signed in as the attacker; with a flow of their own and without.
    victim = await oidc.visitor()
    assert refused(await victim.http.get(back), "another browser")
    await oidc.to_provider(victim)
    assert refused(await victim.http.get(back), "another browser")
    state = query_of(back)["state"]
    for wrong in (back.replace(state, state[:-1] + "_"), back.split("&state=")[0], f"{back}&state={state}"):
        assert refused(await person.http.get(wrong), "another browser"), wrong
    assert "/token" not in oidc.provider.asked, "a wrong answer leaves the right one alone"
    cookies = dict(person.http.cookies)
    assert is_signed_in(await person.http.get(back))
    again = await oidc.visitor()
    again.http.cookies.update(cookies)
    assert refused(await again.http.get(back), "finished before")
    assert oidc.provider.asked.count("/token") == 1


async def test_a_code_that_was_used_elsewhere_is_worth_nothing(oidc: Scene) -> None:
    """The provider refuses it; the verifier would not fit either."""
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    used = await oidc.to_provider(person)
    assert is_signed_in(await person.http.get(used))
    other = await oidc.visitor()
    fresh = await oidc.to_provider(other)
    stolen = fresh.replace(query_of(fresh)["code"], query_of(used)["code"])
    assert refused(await other.http.get(stolen), "not valid")
    injected = await oidc.visitor()
    mine, theirs = await oidc.to_provider(injected), await oidc.to_provider(await oidc.visitor())
    stolen = mine.replace(query_of(mine)["code"], query_of(theirs)["code"])
    assert refused(await injected.http.get(stolen), "not valid"), "PKCE binds the code to the browser"


@pytest.mark.parametrize("issuer", ["https://evil.example", None, ""])
async def test_an_answer_of_another_provider_is_not_taken_for_this_ones(oidc: Scene, issuer: str | None) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    oidc.provider.answers = {"iss": issuer}
    assert refused(await oidc.sign_in(person), "not valid")
    assert "/token" not in oidc.provider.asked, "the code was told to nobody"


async def test_a_flow_ends(oidc: Scene) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    back = await oidc.to_provider(person)
    await run(oidc.town.stack, "UPDATE oidc_flows SET expires_at = now()")
    assert refused(await person.http.get(back), "took too long")


async def test_whoever_is_refused_there_is_told(oidc: Scene) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    oidc.provider.answers = {"code": None, "error": "access_denied", "error_description": "<script>alert(1)</script>"}
    answer = await oidc.sign_in(person)
    assert refused(answer, "not signed in there")
    assert "<script" not in answer.text


@pytest.mark.parametrize(
    "next_path", ["https://evil.example/", "//evil.example/", "/\\evil.example", "/v1/orders", "/account/../x"]
)
async def test_coming_back_leads_nowhere_else(oidc: Scene, next_path: str) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    answer = await oidc.sign_in(person, next_path)
    assert is_signed_in(answer)
    assert answer.headers["location"] == "/account"


async def test_a_session_of_before_ends(oidc: Scene) -> None:
    person, _ = await oidc.newcomer(await oidc.town.merchant())
    first = (await oidc.sign_in(person)).cookies["tl_session"]
    await oidc.sign_in(person)
    planted = await oidc.visitor()
    planted.http.cookies.set("tl_session", first)
    assert (await planted.http.get("/account")).status_code == 303


async def test_the_form_for_the_password_must_be_ours(oidc: Scene) -> None:
    known = await oidc.town.person_of(await oidc.town.merchant())
    oidc.vouches_for(known.email)
    person = await oidc.visitor()
    page = await oidc.sign_in(person)
    for csrf in ("", "0" * 64):
        answer = await person.send(page, CONNECT, password=PASSWORD, csrf=csrf)
        assert refused(answer, "was not ours")
