"""Partner apps: what one may ask of a merchant, and where browsers may be sent back to."""

import re
from collections.abc import Sequence
from dataclasses import field
from datetime import datetime
from ipaddress import IPv6Address
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from shared.contracts.access import SCOPES, Environment
from shared.contracts.model import PositiveMoney
from shared.immutable import immutable

AppType = Literal["server", "plugin"]
MoneyEffect = Literal["refund", "collect"]
Period = Literal["day", "week", "month"]

GRANTABLE_SCOPES = tuple(scope for scope in SCOPES if scope not in ("keys.write", "apps.read", "apps.write"))
"""An app never gets what would let it make credentials or apps: those would outlive its removal."""

_LONGEST_URI = 500
_URI = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_LOCAL = ("localhost", "127.0.0.1", "::1")


@immutable
class Permission:
    """Something that an app asks for, in the words of its developer, with the scopes that it takes."""

    permission_id: str
    title: str
    description: str
    required_scopes: tuple[str, ...]
    optional: bool = False


@immutable
class MoneyBudget:
    """The most that the app says it will move in each period."""

    effect: MoneyEffect
    limit_money: PositiveMoney
    period: Period


@immutable
class PartnerApp:
    """An app as its developer registered it. One made with a test key can only ever be installed in test mode."""

    app_id: str
    merchant_id: str
    environment: Environment
    name: str
    type: AppType
    redirect_uris: tuple[str, ...]
    manifest: tuple[Permission, ...]
    created_at: datetime
    updated_at: datetime
    default_permission_ids: tuple[str, ...] = ()
    money_budgets: tuple[MoneyBudget, ...] = field(default=())
    status: Literal["active", "deleted"] = "active"
    version: int = 1

    @property
    def modes(self) -> tuple[Environment, ...]:
        """Where it can be installed."""
        return ("test",) if self.environment == "test" else ("test", "live")


@immutable
class Flaw:
    """What is wrong with a registration, and in which field."""

    param: str
    detail: str


def flaw_of(app: PartnerApp) -> Flaw | None:
    """Why the app cannot be registered like that."""
    ids = [permission.permission_id for permission in app.manifest]
    if len(set(ids)) < len(ids):
        return Flaw("manifest", "Each permission_id can be there once.")
    for number, permission in enumerate(app.manifest):
        unknown = sorted(set(permission.required_scopes) - set(GRANTABLE_SCOPES))
        if unknown:
            detail = f"Apps cannot be given {', '.join(unknown)}."
            return Flaw(f"manifest.{number}.required_scopes", detail)
    strangers = sorted(set(app.default_permission_ids) - set(ids))
    if strangers:
        return Flaw("default_permission_ids", f"Not in the manifest: {', '.join(strangers)}.")
    for number, uri in enumerate(app.redirect_uris):
        wrong = redirect_flaw(uri, app.environment)
        if wrong is not None:
            return Flaw(f"redirect_uris.{number}", wrong)
    return None


def redirect_flaw(uri: str, environment: Environment) -> str | None:
    """Why browsers must not be sent there. Only https; in test also http to the developer's own machine."""
    if len(uri) > _LONGEST_URI or _URI.fullmatch(uri) is None or "\\" in uri:
        return f"Must be at most {_LONGEST_URI} visible ASCII characters without a backslash."
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "Is no URL."
    if not host or "@" in parts.netloc or "#" in uri or not _is_host(host):
        return "Must have a host, no user name and no fragment."
    local = parts.scheme == "http" and host in _LOCAL and environment == "test"
    if parts.scheme != "https" and not local:
        return "Must begin with https://; an app made with a test key may also use http://localhost."
    return None


def origin_of(uri: str) -> str:
    """Scheme, host and port of a redirect URI that has no flaw: what a content policy names it by."""
    parts: SplitResult = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def permissions_asked(app: PartnerApp, permission_ids: Sequence[str] | None) -> tuple[Permission, ...] | None:
    """What the merchant is shown: all that the app cannot do without, and of the rest what it asks for, in the order
    of its manifest. Without ids that is its default; `None` when one of them is not in the manifest."""
    asked = set(app.default_permission_ids if permission_ids is None else permission_ids)
    if asked - {permission.permission_id for permission in app.manifest}:
        return None
    return tuple(each for each in app.manifest if not each.optional or each.permission_id in asked)


def scopes_of(permissions: Sequence[Permission]) -> tuple[str, ...]:
    """The scopes that these take, in order and each once; where writing is among them, reading needs no word."""
    scopes = {scope for permission in permissions for scope in permission.required_scopes}
    return tuple(sorted(scope for scope in scopes if not (scope.endswith(".read") and f"{scope[:-5]}.write" in scopes)))


def _is_host(host: str) -> bool:
    if _HOST_NAME.fullmatch(host):
        return ".." not in host
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True
