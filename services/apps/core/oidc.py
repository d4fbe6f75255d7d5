"""Sign-in at the company's own provider (OpenID Connect): whom its word lets in, and what follows from one secret."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any, Literal, TypeGuard

from services.apps.core.staff import Role, email_key
from shared.immutable import immutable

FLOW_LASTS = timedelta(minutes=10)
"""From the button until the browser is back, and has given the password where one is asked for."""

_ROLES: tuple[Role, ...] = ("owner", "manager", "finance", "support", "clerk")
"""From the one that may most."""
_LONGEST_SUBJECT, _LONGEST_EMAIL, _LONGEST_NAME = 255, 254, 200

Declined = Literal["email_not_verified", "other_domain", "no_role", "unusable"]
"""Why the provider's word does not let somebody in."""


@immutable
class Admission:
    """Whom the provider's word lets in."""

    domains: frozenset[str]
    """Of e-mail addresses; empty where any will do."""
    roles_claim: str | None
    """The claim that must name one of our roles."""
    join_role: Role | None
    """What somebody becomes whom nobody invited, where no claim says so."""


@immutable
class Identity:
    """Who came, as the provider vouches for."""

    subject: str
    email: str
    name: str
    role: Role | None
    """What somebody becomes whom nobody invited; `None`: nothing."""


def identity_of(claims: Mapping[str, Any], admission: Admission) -> Identity | Declined:
    """Whom a verified ID token speaks of, or why that is not enough.

    Only an address that the provider says it has verified is one, since it decides whose account this is.
    """
    subject, email = claims.get("sub"), claims.get("email")
    if not _is_text(subject, _LONGEST_SUBJECT) or not _is_text(email, _LONGEST_EMAIL):
        return "unusable"
    if claims.get("email_verified") is not True:
        return "email_not_verified"
    local, _, domain = email_key(email).rpartition("@")
    if not local or not domain:
        return "unusable"
    if admission.domains and domain not in admission.domains:
        return "other_domain"
    named = None if admission.roles_claim is None else _highest(claims.get(admission.roles_claim))
    if admission.roles_claim is not None and named is None:
        return "no_role"
    given = claims.get("name")
    name = given if _is_text(given, _LONGEST_NAME) else local
    return Identity(subject, email_key(email), name, named or admission.join_role)


@immutable
class Secrets:
    """What a flow needs besides, all of it following from the secret that only the browser keeps."""

    state: str
    nonce: str
    verifier: str

    @staticmethod
    def of(secret: str) -> "Secrets":
        return Secrets(_from(secret, "state"), _from(secret, "nonce"), _from(secret, "verifier"))


def _from(secret: str, what: str) -> str:
    return urlsafe_b64encode(hmac.new(secret.encode(), f"oidc {what}".encode(), sha256).digest()).rstrip(b"=").decode()


def _is_text(value: object, longest: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()


def _highest(claim: object) -> Role | None:
    """Of the roles that the claim names, as one text or a list of them, the one that may most."""
    named = claim if isinstance(claim, list) else [claim]
    return next((role for role in _ROLES if role in named), None)
