"""What people's browsers send and get: cookies, forms, pages. No page needs JavaScript, and none can be framed."""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar import Response
from litestar.datastructures import Cookie

from services.apps.secrets import Kind, new_secret
from services.apps.staff import csrf_token
from shared.auth.guard import OPEN
from shared.http.answers import AnyRequest
from shared.http.bodies import read_raw
from shared.http.problems import Problem

FORM = "application/x-www-form-urlencoded"
CSRF_FIELD = "csrf"
MOST_FIELDS = 200
FOR_PEOPLE: dict[str, Any] = {"opt": OPEN, "include_in_schema": False}
"""For the decorators of what browsers open: it has its own ways to know who is there."""

Page = Response[Any]
Form = Mapping[str, Sequence[str]]

_SECRET = re.compile(r"tl_(session|form|oidc)_[A-Za-z0-9_-]{43}")


def policy(form_targets: Sequence[str] = ()) -> str:
    """What a page may do: show itself, and send forms to us; a form whose answer leads elsewhere names where."""
    targets = " ".join(["'self'", *form_targets])
    return (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {targets}"
    )


def page(html: str, status: int = 200, form_targets: Sequence[str] = (), **headers: str) -> Page:
    """A page for one person, kept nowhere."""
    shown = {
        "Content-Security-Policy": policy(form_targets),
        "Cache-Control": "no-store",
        # Browsers then say where a form comes from; they would keep it to themselves under `no-referrer`.
        "Referrer-Policy": "same-origin",
    }
    return Response(html, status_code=status, media_type="text/html", headers=shown | headers)


def redirect(location: str) -> Page:
    """On to another page, by GET."""
    headers = {"Location": location, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return Response("", status_code=303, media_type="text/plain", headers=headers)


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


async def read_form(request: AnyRequest) -> Form:
    """The fields of a form, each with all its values."""
    raw = await read_raw(request, FORM)
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise Problem("VALIDATION_FAILED", "The form cannot be read.") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        if "\0" in value:
            raise Problem("VALIDATION_FAILED", "Text must not contain a NUL character.")
        found.setdefault(name, []).append(value)
    return found


def field(form: Form, name: str) -> str:
    """A field's first value; empty where there is none."""
    values = form.get(name) or [""]
    return values[0]


def is_our_form(request: AnyRequest, form: Form, secret: str | None, base_url: str) -> bool:
    """Whether the form was on a page that we showed to this browser.

    It holds what only that page could know; and what browsers say of where it comes from must not contradict.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    # The host too, for who comes by another name of the same machine: no other site can make a browser name ours.
    ours = origin in (None, base_url) or urlsplit(origin).netloc == request.headers.get("host")
    if not ours or site not in (None, "same-origin"):
        return False
    return secret is not None and hmac.compare_digest(csrf_token(secret), field(form, CSRF_FIELD))


def address_of(request: AnyRequest) -> str:
    """Where the request comes from, as the HTTP server tells it."""
    return request.client.host if request.client is not None else "unknown"
