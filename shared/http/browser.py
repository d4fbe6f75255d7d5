"""What people's browsers send and get: forms and pages. No page needs JavaScript, and none can be framed."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar import Response

from shared.auth.guard import OPEN
from shared.http.answers import AnyRequest
from shared.http.bodies import read_raw
from shared.http.problems import Problem

FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 200
FOR_PEOPLE: dict[str, Any] = {"opt": OPEN, "include_in_schema": False}
"""For the decorators of what browsers open: it has its own ways to know who is there."""

Page = Response[Any]
Form = Mapping[str, Sequence[str]]


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


def is_sent_from_here(request: AnyRequest, base_url: str) -> bool:
    """Whether nothing that the browser says of where the form comes from contradicts that it was a page of ours."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    # The host too, for who comes by another name of the same machine: no other site can make a browser name ours.
    ours = origin in (None, base_url) or urlsplit(origin).netloc == request.headers.get("host")
    return ours and site in (None, "same-origin")
