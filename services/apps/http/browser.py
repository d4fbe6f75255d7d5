"""How a browser is known again: its cookies, and whether a form was on a page that we showed to it."""

import hmac
import re

from litestar.datastructures import Cookie

from services.apps.secrets import Kind, new_secret
from services.apps.staff import csrf_token
from shared.http.answers import AnyRequest
from shared.http.browser import Form, field, is_sent_from_here
from shared.http.limits import network_of

CSRF_FIELD = "csrf"

_SECRET = re.compile(r"tl_(session|form|oidc)_[A-Za-z0-9_-]{43}")


class Cookies:
    """The secrets that a browser keeps: its session's, one that ties forms to it before there is a session, and that of
    a sign-in at the provider."""

    def __init__(self, base_url: str) -> None:
        self._secure = base_url.startswith("https://")

    def read(self, request: AnyRequest, kind: Kind) -> str | None:
        """The secret that the browser shows."""
        secret = request.cookies.get(self._name(kind), "")
        return secret if _SECRET.fullmatch(secret) else None

    def make(self, kind: Kind, secret: str | None = None, lasts_s: int | None = None) -> Cookie:
        """A cookie for this host alone, out of reach of scripts and of forms on other sites."""
        return Cookie(
            key=self._name(kind),
            value=secret or new_secret(kind),
            max_age=lasts_s,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def clear(self, kind: Kind) -> Cookie:
        """The browser forgets it."""
        return self.make(kind, "gone", 0)

    def _name(self, kind: Kind) -> str:
        return f"__Host-tl_{kind}" if self._secure else f"tl_{kind}"


def is_our_form(request: AnyRequest, form: Form, secret: str | None, base_url: str) -> bool:
    """Whether the form was on a page that we showed to this browser.

    It holds what only that page could know; and what browsers say of where it comes from must not contradict.
    """
    if not is_sent_from_here(request, base_url):
        return False
    return secret is not None and hmac.compare_digest(csrf_token(secret).encode(), field(form, CSRF_FIELD).encode())


def address_of(request: AnyRequest) -> str:
    """Whose address the request comes from, as the HTTP server tells it; one network is one address over IPv6."""
    return network_of(request.scope) or "unknown"
