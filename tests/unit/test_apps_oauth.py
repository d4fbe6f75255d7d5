"""The rules of partner apps and authorization requests, and of patience with those who guess."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.apps.core.authorization import (
    AuthorizationRequest,
    BadRequest,
    Misdirected,
    challenge_of,
    judge,
    matches_challenge,
)
from services.apps.core.partner_apps import (
    GRANTABLE_SCOPES,
    PartnerApp,
    Permission,
    flaw_of,
    origin_of,
    permissions_asked,
    redirect_flaw,
    scopes_of,
)
from services.apps.core.staff import ACCOUNT, FAILURES_COUNT_FOR, Failures, after_failure, email_key
from services.apps.core.words import MONEY_EFFECTS, SCOPE_WORDS, money_effects
from services.apps.http.pages import own_path

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
READ = Permission("read", "Read", "Reads.", ("orders.read",))
EDIT = Permission("edit", "Edit", "Edits.", ("orders.write", "orders.read"), optional=True)
REFUND = Permission("refund", "Refund", "Refunds.", ("refunds.write",), optional=True)
APP = PartnerApp(
    app_id="app_1",
    merchant_id="mer_1",
    environment="test",
    name="App",
    type="server",
    redirect_uris=("https://app.example/cb", "https://app.example/cb?x=1"),
    manifest=(READ, EDIT, REFUND),
    created_at=NOW,
    updated_at=NOW,
    default_permission_ids=("edit",),
)
LIVE = replace(APP, environment="live")
CHALLENGE = challenge_of("v" * 43)
ASKED = {
    "client_id": ["app_1"],
    "redirect_uri": ["https://app.example/cb"],
    "response_type": ["code"],
    "state": ["s t@te"],
    "code_challenge": [CHALLENGE],
    "code_challenge_method": ["S256"],
}


def test_a_request_is_what_it_asks_for() -> None:
    found = judge(ASKED | {"unknown": ["ignored", "twice"]}, APP)
    assert isinstance(found, AuthorizationRequest)
    assert (found.redirect_uri, found.state, found.code_challenge) == ("https://app.example/cb", "s t@te", CHALLENGE)
    assert (found.permissions, found.modes) == ((READ, EDIT), ("test",))


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": []},
        {"client_id": [""]},
        {"client_id": ["app_2"]},
        {"client_id": ["app_1", "app_1"]},
        {"redirect_uri": []},
        {"redirect_uri": [""]},
        {"redirect_uri": ["https://app.example/cb/"]},
        {"redirect_uri": ["https://app.example/cb?"]},
        {"redirect_uri": ["https://app.example/cb?x=2"]},
        {"redirect_uri": ["https://app.example/cb#x"]},
        {"redirect_uri": ["https://app.example/cb/../evil"]},
        {"redirect_uri": ["https://APP.example/cb"]},
        {"redirect_uri": ["https://app.example:443/cb"]},
        {"redirect_uri": ["http://app.example/cb"]},
        {"redirect_uri": ["https://app.example.evil.example/cb"]},
        {"redirect_uri": ["https://app.example@evil.example/cb"]},
        {"redirect_uri": ["//evil.example/cb"]},
        {"redirect_uri": ["javascript:alert(1)"]},
        {"redirect_uri": ["https://app.example/cb", "https://evil.example/"]},
    ],
)
def test_nobody_is_sent_where_the_app_did_not_register(changes: dict[str, list[str]]) -> None:
    assert isinstance(judge(ASKED | changes, APP), Misdirected)


def test_an_app_that_is_not_there_is_nobody() -> None:
    assert isinstance(judge(ASKED, None), Misdirected)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"state": []}, "invalid_request"),
        ({"state": [""]}, "invalid_request"),
        ({"state": ["a", "a"]}, "invalid_request"),
        ({"state": ["a\nb"]}, "invalid_request"),
        ({"state": ["x" * 1001]}, "invalid_request"),
        ({"response_type": []}, "invalid_request"),
        ({"response_type": ["token"]}, "unsupported_response_type"),
        ({"response_type": ["code token"]}, "unsupported_response_type"),
        ({"response_type": ["code", "code"]}, "invalid_request"),
        ({"response_mode": ["fragment"]}, "invalid_request"),
        ({"code_challenge": []}, "invalid_request"),
        ({"code_challenge": ["short"]}, "invalid_request"),
        ({"code_challenge": [CHALLENGE, CHALLENGE]}, "invalid_request"),
        ({"code_challenge_method": []}, "invalid_request"),
        ({"code_challenge_method": ["plain"]}, "invalid_request"),
        ({"code_challenge_method": ["s256"]}, "invalid_request"),
        ({"mode": ["live"]}, "invalid_request"),
        ({"mode": ["production"]}, "invalid_request"),
        ({"permission_ids": ["read,steal"]}, "invalid_scope"),
    ],
)
def test_other_mistakes_go_back_to_the_app(changes: dict[str, list[str]], error: str) -> None:
    found = judge(ASKED | changes, APP)
    assert isinstance(found, BadRequest)
    assert (found.error, found.redirect_uri) == (error, "https://app.example/cb")
    assert found.state == (None if "state" in changes else "s t@te")


def test_an_app_made_with_a_live_key_leaves_the_mode_to_the_merchant() -> None:
    found = judge(ASKED, LIVE)
    assert isinstance(found, AuthorizationRequest)
    assert found.modes == ("test", "live")
    chosen = judge(ASKED | {"mode": ["live"]}, LIVE)
    assert isinstance(chosen, AuthorizationRequest)
    assert chosen.modes == ("live",)


def test_a_challenge_is_met_by_its_verifier_only() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert matches_challenge(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    assert not matches_challenge("v" * 44, CHALLENGE)
    assert not matches_challenge(CHALLENGE, CHALLENGE)
    for wrong in ("", "v" * 42, "v" * 129, "v" * 42 + "é", "v" * 42 + " "):
        assert not matches_challenge(wrong, challenge_of(wrong))


def test_required_permissions_are_always_asked_for() -> None:
    assert permissions_asked(APP, ["refund"]) == (READ, REFUND)
    assert permissions_asked(APP, []) == (READ,)
    assert permissions_asked(APP, None) == (READ, EDIT)
    assert permissions_asked(APP, ["nothing"]) is None


def test_scopes_are_said_once_and_writing_includes_reading() -> None:
    assert scopes_of([READ, EDIT, REFUND]) == ("orders.write", "refunds.write")
    assert scopes_of([READ]) == ("orders.read",)


@pytest.mark.parametrize(
    ("uri", "environment", "fits"),
    [
        ("https://app.example/cb", "live", True),
        ("https://app.example:8443/cb?x=1", "live", True),
        ("https://[2001:db8::1]/cb", "live", True),
        ("http://localhost:3000/cb", "test", True),
        ("http://127.0.0.1/cb", "test", True),
        ("http://[::1]:80/cb", "test", True),
        ("http://localhost:3000/cb", "live", False),
        ("http://app.example/cb", "test", False),
        ("http://localhost.evil.example/cb", "test", False),
        ("https://app.example/cb#part", "test", False),
        ("https://app.example/cb#", "test", False),
        ("https://user@app.example/cb", "test", False),
        ("https://*.app.example/cb", "test", False),
        ("https://app.example;script-src/cb", "test", False),
        ("https://app.example,evil.example/cb", "test", False),
        ("https://app..example/cb", "test", False),
        ("https://app.example\\evil/cb", "test", False),
        ("https://app.example/ü", "test", False),
        ("https://app.example/a b", "test", False),
        ("https://app.example:port/", "test", False),
        ("https:///cb", "test", False),
        ("https:app.example", "test", False),
        ("javascript:alert(1)", "test", False),
        ("data:text/html,x", "test", False),
        ("myapp://cb", "test", False),
        ("https://app.example/" + "x" * 500, "test", False),
        ("", "test", False),
    ],
)
def test_where_browsers_may_be_sent(uri: str, environment: str, fits: bool) -> None:
    assert (redirect_flaw(uri, "live" if environment == "live" else "test") is None) is fits


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of("https://app.example:8443/cb?x=1") == "https://app.example:8443"


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        (replace(APP, manifest=(READ, READ)), "manifest"),
        (replace(APP, manifest=(replace(READ, required_scopes=("keys.write",)),)), "manifest.0.required_scopes"),
        (replace(APP, manifest=(replace(READ, required_scopes=("apps.write",)),)), "manifest.0.required_scopes"),
        (replace(APP, manifest=(replace(READ, required_scopes=("gold.write",)),)), "manifest.0.required_scopes"),
        (replace(APP, default_permission_ids=("nothing",)), "default_permission_ids"),
        (replace(APP, redirect_uris=("https://app.example", "http://app.example")), "redirect_uris.1"),
    ],
)
def test_what_is_wrong_with_an_app_is_named(changed: PartnerApp, param: str) -> None:
    flaw = flaw_of(changed)
    assert flaw is not None
    assert flaw.param == param
    assert flaw_of(APP) is None


def test_every_scope_has_words_and_those_that_move_money_say_so() -> None:
    assert set(SCOPE_WORDS) == set(GRANTABLE_SCOPES)
    assert set(MONEY_EFFECTS) <= set(GRANTABLE_SCOPES)
    assert money_effects(["orders.read"]) == []
    assert len(money_effects(["refunds.write", "orders.read"])) == 1


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/v1/oauth/authorize?client_id=a&state=%20", "/v1/oauth/authorize?client_id=a&state=%20"),
        ("/account", "/account"),
        ("", "/account"),
        ("https://evil.example", "/account"),
        ("//evil.example", "/account"),
        ("/\\evil.example", "/account"),
        ("/v1/oauth/authorize", "/account"),
        ("/v1/oauth/authorize?x\\y", "/account"),
        ("/v1/oauth/authorize?x\r\nSet-Cookie: a=b", "/account"),
        ("/v1/oauth/authorize@evil.example?x", "/account"),
        ("/sign-out", "/account"),
        ("/accountx", "/account"),
    ],
)
def test_after_signing_in_only_our_own_pages_follow(text: str, path: str) -> None:
    assert own_path(text) == path


def test_each_further_failure_doubles_the_wait() -> None:
    known: Failures | None = None
    waits = []
    for _ in range(12):
        known = after_failure(known, ACCOUNT, NOW)
        waits.append(None if known.locked_until is None else (known.locked_until - NOW).total_seconds())
    assert waits == [None] * 4 + [30, 60, 120, 240, 480, 900, 900, 900]
    assert known is not None
    assert known.locks(NOW)
    assert not known.locks(NOW + timedelta(seconds=900))


def test_failures_of_yesterday_do_not_count() -> None:
    known = Failures(9, NOW - FAILURES_COUNT_FOR, None)
    assert after_failure(known, ACCOUNT, NOW) == Failures(1, NOW, None)


def test_case_tells_no_two_people_apart() -> None:
    assert email_key(" Ada@Shop.Example ") == email_key("ada@shop.example")
