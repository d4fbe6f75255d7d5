"""Whom a provider's word lets in."""

from typing import Any

import pytest
from pydantic import ValidationError

from services.apps.core.authorization import challenge_of, matches_challenge
from services.apps.core.oidc import Admission, Identity, Secrets, identity_of
from shared.settings import OidcSettings

ANYONE = Admission(frozenset(), None, None)
CLAIMS: dict[str, Any] = {"sub": "1234", "email": "Ada@Shop.example", "email_verified": True, "name": "Ada L."}


def test_an_address_is_compared_without_case_and_names_are_taken_over() -> None:
    assert identity_of(CLAIMS, ANYONE) == Identity("1234", "ada@shop.example", "Ada L.", None)
    assert identity_of(CLAIMS | {"name": None}, ANYONE) == Identity("1234", "ada@shop.example", "ada", None)
    assert identity_of(CLAIMS | {"name": "A\u202eda"}, ANYONE) == Identity("1234", "ada@shop.example", "ada", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"sub": "a\0b"},
        {"email": None},
        {"email": "ada"},
        {"email": "@shop.example"},
        {"email": "ada@"},
        {"email": ["ada@shop.example"]},
        {"email": "ada@shop.example\nbcc: x"},
    ],
)
def test_what_names_nobody_is_not_usable(changes: dict[str, Any]) -> None:
    assert identity_of(CLAIMS | changes, ANYONE) == "unusable"


@pytest.mark.parametrize("verified", [None, False, "true", "True", 1, [True]])
def test_only_true_is_verified(verified: object) -> None:
    assert identity_of(CLAIMS | {"email_verified": verified}, ANYONE) == "email_not_verified"


@pytest.mark.parametrize(
    ("email", "fits"),
    [
        ("ada@shop.example", True),
        ("ada@SHOP.example", True),
        ("ada@sub.shop.example", False),
        ("ada@shop.example.evil", False),
        ("ada@evilshop.example", False),
        ("shop.example@evil.example", False),
        ("ada@shop.example@evil.example", False),
    ],
)
def test_a_domain_is_what_stands_after_the_last_at(email: str, fits: bool) -> None:
    found = identity_of(CLAIMS | {"email": email}, Admission(frozenset({"shop.example"}), None, None))
    assert isinstance(found, Identity) if fits else found == "other_domain"


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        ("clerk", "clerk"),
        (["clerk", "manager"], "manager"),
        (["staff", "finance"], "finance"),
        ("Owner", None),
        ([], None),
        (None, None),
        (True, None),
        ({"owner": 1}, None),
        ([["owner"], {"x": 1}], None),
    ],
)
def test_a_claim_names_the_role(claim: object, role: str | None) -> None:
    found = identity_of(CLAIMS | {"groups": claim}, Admission(frozenset(), "groups", "clerk"))
    assert found == "no_role" if role is None else isinstance(found, Identity) and found.role == role


def test_what_follows_from_a_secret_is_always_the_same_and_tells_nothing_of_the_rest() -> None:
    one, again, other = Secrets.of("a"), Secrets.of("a"), Secrets.of("b")
    assert one == again
    assert len({one.state, one.nonce, one.verifier, other.state, other.nonce, other.verifier}) == 6
    assert matches_challenge(one.verifier, challenge_of(one.verifier))


SECRET = {"client_id": "us", "client_secret": "hush"}


@pytest.mark.parametrize(
    "given",
    [
        {"issuer": "https://id.example"},
        {"issuer": "https://id.example", "client_id": "us"},
        {"issuer": "https://id.example", **SECRET, "join_merchant_id": "mer_1"},
        {"issuer": "https://id.example", **SECRET, "join_merchant_id": "mer_1", "join_role": "clerk"},
        {"issuer": "https://id.example", **SECRET, "join_merchant_id": "mer_1", "allowed_domains": "shop.example"},
    ],
)
def test_settings_that_would_let_everybody_in_or_nobody_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        OidcSettings(**given)
    assert "hush" not in str(refused.value)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "ISSUER": "https://id.example",
        "CLIENT_ID": "us",
        "CLIENT_SECRET": "hush-hush",
        "ALLOWED_DOMAINS": "Shop.example, ,other.example",
        "JOIN_MERCHANT_ID": "mer_1",
        "JOIN_ROLE": "clerk",
    }
    for name, text in environment.items():
        monkeypatch.setenv(f"OIDC_{name}", text)
    found = OidcSettings()
    assert found.allowed_domains == {"shop.example", "other.example"}
    assert "hush" not in repr(found)
