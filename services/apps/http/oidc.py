"""Staff go to the company's own provider, and come back from it."""

from litestar import Controller, get, post
from litestar.datastructures import State

from services.apps.connectors.oidc_provider import ProviderAway
from services.apps.core.staff import LONGEST_PASSWORD
from services.apps.http.browser import address_of
from services.apps.http.pages import STALE, Visit, own_path, retry_after, too_many
from services.apps.oidc import CameIn, OidcSignIn, Outcome, PasswordAsked, Refused
from services.apps.pages.parts import message
from services.apps.pages.staff import connect_page
from services.apps.staff import TooManyAttempts, csrf_token
from shared.http.answers import AnyRequest
from shared.http.browser import FOR_PEOPLE, Page, field, page, read_form, redirect
from shared.http.requests import request_id_of

CALLBACK = "/sign-in/oidc/callback"
_REFUSALS: dict[Refused, str] = {
    "stale": "This sign-in was begun in another browser, took too long, or was finished before. Please try again.",
    "refused_there": "You were not signed in there. Try again, or sign in with your password.",
    "not_vouched": "What came back is not valid. Please try again.",
    "unusable": "Your account there has no e-mail address, or none that can be used here.",
    "email_not_verified": "Your e-mail address there has not been verified, so we cannot know whose it is.",
    "other_domain": "E-mail addresses of this domain cannot sign in this way.",
    "no_role": "Your account there has no role that lets you in here. Ask whoever manages it.",
    "nobody": "Nobody has been invited with this e-mail address. Ask an owner of your merchant for an invitation.",
    "other_identity": "This e-mail address is connected with another account there. Sign in with that one.",
    "wrong_password": "This is not the password of your account.",
}


class OidcController(Controller):
    """Sign in at the company's own provider."""

    path = "/sign-in/oidc"

    @get(**FOR_PEOPLE)
    async def begin(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        next_path, oidc = own_path(request.query_params.get("next", "")), visit.wiring.oidc
        if oidc is None:
            return _no_provider()
        try:
            url, secret = await oidc.begin(next_path)
        except ProviderAway:
            return _away(visit, oidc, next_path)
        answer = redirect(url)
        answer.set_cookie(visit.cookies.make("oidc", secret))
        return answer

    @get("/callback", **FOR_PEOPLE)
    async def finish(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        oidc = visit.wiring.oidc
        if oidc is None:
            return _no_provider()
        answer = {name: request.query_params.getall(name) for name in request.query_params}
        before = visit.cookies.read(request, "session")
        secret = visit.cookies.read(request, "oidc")
        try:
            outcome = await oidc.finish(secret, answer, address_of(request), before, request_id_of(request.scope))
        except ProviderAway:
            return _away(visit, oidc, "/account")
        return _shown(visit, oidc, outcome)

    @post("/connect", status_code=200, **FOR_PEOPLE)
    async def connect(self, request: AnyRequest, state: State) -> Page:
        visit, form = Visit(request, state.apps), await read_form(request)
        oidc = visit.wiring.oidc
        if oidc is None:
            return _no_provider()
        if not visit.has_our_form(form, visit.cookies.read(request, "form")):
            return visit.sign_in_page("/account", problem=STALE, status=403)
        secret, before = visit.cookies.read(request, "oidc"), visit.cookies.read(request, "session")
        password = field(form, "password")[:LONGEST_PASSWORD]
        outcome = await oidc.connect(secret, password, address_of(request), before, request_id_of(request.scope))
        asked = await oidc.waits_for_password(secret)
        return _shown(visit, oidc, outcome, asked)


def _shown(visit: Visit, oidc: OidcSignIn, outcome: Outcome, asked: PasswordAsked | None = None) -> Page:
    """The page for what came of it; `asked` for a password, somebody who gave a wrong one is asked again."""
    match outcome:
        case CameIn():
            answer = visit.come_in(outcome.session, outcome.next_path)
            answer.set_cookie(visit.cookies.clear("oidc"))
            return answer
        case PasswordAsked():
            return _password(visit, oidc, outcome)
        case TooManyAttempts():
            problem, status, headers = too_many(outcome), 429, retry_after(outcome)
        case _:
            problem, status, headers = _REFUSALS[outcome], 403, {}
    if asked is not None:
        return _password(visit, oidc, asked, problem, status, **headers)
    return visit.sign_in_page("/account", problem=problem, status=status, **headers)


def _password(
    visit: Visit, oidc: OidcSignIn, asked: PasswordAsked, problem: str | None = None, status: int = 200, **headers: str
) -> Page:
    secret = visit.form_secret
    return visit.with_form(connect_page(csrf_token(secret), asked.email, oidc.name, problem), secret, status, **headers)


def _away(visit: Visit, oidc: OidcSignIn, next_path: str) -> Page:
    problem = f"Signing in with {oidc.name} does not work right now. Sign in with your password, or try again later."
    return visit.sign_in_page(next_path, problem=problem, status=503)


def _no_provider() -> Page:
    return page(message("Not found", "There is no other way to sign in here than with a password."), 404)
