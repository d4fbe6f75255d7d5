"""OAuth 2.1's authorization request, as far as it can be judged without asking anybody (RFC 6749, 7636, 9700).

A request that names no app of ours, or a redirect URI that is not exactly one of the app's, is answered to the person
in front of it and never redirected. Every other mistake goes back to the app.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TypeAlias

from services.apps.core.partner_apps import PartnerApp, Permission, permissions_asked
from shared.contracts.access import Environment
from shared.immutable import immutable

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_STATE = re.compile(r"[ -~]{1,1000}")
_ONCE = (
    "response_type response_mode client_id redirect_uri state mode permission_ids code_challenge code_challenge_method"
).split()

Parameters = Mapping[str, Sequence[str]]
"""Each parameter with all its values; empty ones count as not there."""


@immutable
class AuthorizationRequest:
    """What an app asks a merchant for."""

    app: PartnerApp
    redirect_uri: str
    state: str
    code_challenge: str
    permissions: tuple[Permission, ...]
    mode: Environment | None
    """Where the app wants to be installed; the merchant chooses where it does not say."""

    @property
    def modes(self) -> tuple[Environment, ...]:
        """What the merchant can choose from."""
        return (self.mode,) if self.mode else self.app.modes

    @property
    def digest(self) -> str:
        """Stands for what the merchant is shown of the app: it differs whenever that does."""
        shown = (self.app.name, self.permissions, self.app.money_budgets)
        return sha256(repr(shown).encode()).hexdigest()


@immutable
class Misdirected:
    """Nobody can be told but the person at the browser."""

    detail: str


@immutable
class BadRequest:
    """The app is told by a redirect: one of OAuth's error codes, and what it means."""

    redirect_uri: str
    state: str | None
    error: str
    detail: str


Judged: TypeAlias = AuthorizationRequest | Misdirected | BadRequest


def judge(parameters: Parameters, app: PartnerApp | None) -> Judged:
    """The request, or why it cannot be asked. `app` is the active one that `client_id` names."""
    given = {name: [value for value in values if value] for name, values in parameters.items()}
    if app is None or given.get("client_id") != [app.app_id]:
        return Misdirected("The app that sent you here is not known.")
    redirect_uris = given.get("redirect_uri", [])
    if len(redirect_uris) != 1 or redirect_uris[0] not in app.redirect_uris:
        return Misdirected("The app that sent you here did not say where to send you back, or named a wrong address.")
    found = {name: values[0] for name, values in given.items() if values}
    repeated = [name for name in _ONCE if len(given.get(name, ())) > 1]
    return _judge_rest(found, repeated, app, redirect_uris[0])


def matches_challenge(verifier: str, challenge: str) -> bool:
    """Whether the code's rightful owner speaks: S256, the only method."""
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    return hmac.compare_digest(challenge_of(verifier), challenge)


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _judge_rest(found: Mapping[str, str], repeated: Sequence[str], app: PartnerApp, redirect_uri: str) -> Judged:
    state = found.get("state")
    usable = state if state is not None and "state" not in repeated and _STATE.fullmatch(state) else None
    error = _first_mistake(found, repeated, app, usable)
    if error is not None:
        return BadRequest(redirect_uri, usable, *error)
    permissions = permissions_asked(app, _ids(found.get("permission_ids")))
    if permissions is None:
        return BadRequest(redirect_uri, usable, "invalid_scope", "permission_ids names one that is not in the manifest")
    if not permissions:
        return BadRequest(redirect_uri, usable, "invalid_scope", "no permission is asked for")
    mode: Environment | None = {"test": "test", "live": "live"}.get(found.get("mode", ""))  # type: ignore[assignment]
    return AuthorizationRequest(app, redirect_uri, usable or "", found["code_challenge"], permissions, mode)


def _first_mistake(
    found: Mapping[str, str], repeated: Sequence[str], app: PartnerApp, state: str | None
) -> tuple[str, str] | None:
    if repeated:
        return "invalid_request", f"{repeated[0]} is given more than once"
    if state is None:
        return "invalid_request", "state is required: 1 to 1000 printable ASCII characters"
    if "response_type" not in found:
        return "invalid_request", "response_type is required"
    if found["response_type"] != "code":
        return "unsupported_response_type", "response_type must be code"
    if found.get("response_mode", "query") != "query":
        return "invalid_request", "response_mode must be query"
    if _CHALLENGE.fullmatch(found.get("code_challenge", "")) is None:
        return "invalid_request", "code_challenge is required: the verifier's SHA-256 in base64url (PKCE)"
    if found.get("code_challenge_method") != "S256":
        return "invalid_request", "code_challenge_method must be S256"
    if found.get("mode", app.modes[0]) not in app.modes:
        return "invalid_request", f"mode must be {' or '.join(app.modes)} for this app"
    return None


def _ids(text: str | None) -> list[str] | None:
    return None if text is None else [each for each in re.split(r"[ ,]+", text) if each]
