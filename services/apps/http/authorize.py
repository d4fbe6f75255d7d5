"""Where an app sends a merchant's browser: sign in, look at what it asks for, install or refuse."""

from urllib.parse import quote, urlencode

from litestar import Controller, get, post
from litestar.datastructures import State

from services.apps.core.authorization import AuthorizationRequest, BadRequest, Judged, Misdirected, judge
from services.apps.core.partner_apps import origin_of, scopes_of
from services.apps.core.staff import MAY_INSTALL
from services.apps.core.words import budget_words, money_effects
from services.apps.http.oauth_models import PreviewQuery, PreviewView
from services.apps.http.pages import Visit
from services.apps.http.partner_app_models import permission_model
from services.apps.http.wiring import Wiring, by_actor
from services.apps.oauth import Approval
from services.apps.pages.consent import MERCHANTS_AT_ONCE, Chosen, Consent, consent_page
from services.apps.pages.parts import message, searched
from services.apps.staff import SignedIn, operator
from services.apps.store import partner_apps, staff
from services.apps.store.staff import Which
from shared.contracts.access import Environment
from shared.http.answers import Answer, AnyRequest, one
from shared.http.browser import FOR_PEOPLE, Form, Page, field, page, read_form, redirect
from shared.http.operations import operation
from shared.http.problems import Problem

_PATH = "/v1/oauth/authorize"
_CHANGED = "The app has changed what it asks for since you opened this page. Please look again."


class AuthorizationController(Controller):
    """Install an app: OAuth 2.1's authorization code with PKCE."""

    path = _PATH
    tags = ("Installing an app",)

    @get(
        "/preview",
        **operation(
            "Preview an authorization request",
            description=(
                "Takes the parameters of `/v1/oauth/authorize`, and says what the merchant would be shown, or what is "
                "wrong with them."
            ),
            query=PreviewQuery,
            gives=PreviewView,
            open_to_all=True,
        ),
    )
    async def preview_authorization(self, request: AnyRequest, state: State) -> Answer:
        judged = await _judged(request, state.apps)
        if isinstance(judged, Misdirected):
            raise Problem("VALIDATION_FAILED", judged.detail, facts={"error": "invalid_request"})
        if isinstance(judged, BadRequest):
            raise Problem("VALIDATION_FAILED", f"{judged.detail}.", facts={"error": judged.error})
        return one(request, _preview(judged))

    @get(**FOR_PEOPLE)
    async def show_consent(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        judged, session = await _judged(request, visit.wiring), await visit.session()
        if isinstance(judged, Misdirected):
            return _misdirected(judged)
        if session is None:
            return _sign_in_first(request)
        if isinstance(judged, BadRequest):
            return _refused(judged, visit.wiring)
        return await _shown(visit, session, judged, {})

    @post(status_code=200, **FOR_PEOPLE)
    async def decide(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        judged, session = await _judged(request, visit.wiring), await visit.session()
        form = await read_form(request)
        if isinstance(judged, Misdirected):
            return _misdirected(judged)
        if session is None:
            return _sign_in_first(request)
        if isinstance(judged, BadRequest):
            return _refused(judged, visit.wiring)
        if not visit.has_our_form(form, session.secret):
            # Nothing that another site may have chosen is shown as chosen.
            problem = "This page was not ours, or too old. Please look again."
            return await _shown(visit, session, judged, {}, problem=problem, status=403)
        decision = field(form, "decision")
        if decision == "refuse":
            return _back(judged.redirect_uri, visit.wiring, error="access_denied", state=judged.state)
        if field(form, "shown") != judged.digest:
            # The same ids may stand for more than they did, so nothing stays ticked.
            kept = {name: values for name, values in form.items() if name != "permission"}
            return await _shown(visit, session, judged, kept, problem=_CHANGED, status=409)
        if decision == "find":
            return await _shown(visit, session, judged, form)
        approval = _approval(judged, form)
        if decision != "approve" or approval is None:
            return await _shown(
                visit, session, judged, form, problem="Choose a merchant and an environment.", status=400
            )
        by = by_actor(request, visit.wiring, operator(session.user.user_id))
        code = await visit.wiring.oauth.approve(judged, approval, by)
        if code is None:
            problem = "You cannot install this app at this merchant."
            return await _shown(visit, session, judged, form, problem=problem, status=403)
        return _back(judged.redirect_uri, visit.wiring, code=code, state=judged.state)


async def _judged(request: AnyRequest, wiring: Wiring) -> Judged:
    parameters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        parameters.setdefault(name, []).append(value)
    client_id = parameters.get("client_id", [""])[0]
    return judge(parameters, await partner_apps.by_client_id(wiring.pool, client_id))


def _misdirected(judged: Misdirected) -> Page:
    return page(message("This link does not work", judged.detail), 400)


def _sign_in_first(request: AnyRequest) -> Page:
    """Nobody else is sent on to an app, not even with an error: links to us would lead wherever an app registers
    (RFC 9700, 4.11.2)."""
    return redirect(f"/sign-in?next={quote(_itself(request), safe='')}")


def _refused(judged: BadRequest, wiring: Wiring) -> Page:
    stated = {} if judged.state is None else {"state": judged.state}
    return _back(judged.redirect_uri, wiring, error=judged.error, error_description=judged.detail, **stated)


def _back(redirect_uri: str, wiring: Wiring, **parameters: str) -> Page:
    """To the app, saying who answers (RFC 9207)."""
    query = urlencode(parameters | {"iss": wiring.base_url})
    return redirect(f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}")


def _itself(request: AnyRequest) -> str:
    return f"{_PATH}?{urlencode(list(request.query_params.multi_items()))}"


async def _shown(
    visit: Visit,
    session: SignedIn,
    asked: AuthorizationRequest,
    form: Form,
    *,
    problem: str | None = None,
    status: int = 200,
) -> Page:
    chosen = Chosen(
        called=searched(field(form, "called")),
        merchant_id=field(form, "merchant_id"),
        mode=field(form, "mode"),
        permission_ids=form.get("permission", ()),
    )
    which = Which(roles=MAY_INSTALL, called=chosen.called)
    consent = Consent(
        asked=asked,
        made_by=await staff.merchant_name(visit.wiring.pool, asked.app.merchant_id),
        action=_itself(visit.request),
        choices=await staff.memberships(visit.wiring.pool, session.user.user_id, which, MERCHANTS_AT_ONCE + 1),
        chosen=chosen,
    )
    # The answer to this form leads to the app, which the content policy would otherwise stop.
    return page(consent_page(session, consent, problem), status, [origin_of(asked.redirect_uri)])


def _approval(asked: AuthorizationRequest, form: Form) -> Approval | None:
    """What was chosen; `None` when the form names something that was not on the page."""
    modes: dict[str, Environment] = {mode: mode for mode in asked.modes}
    mode, merchant_id = modes.get(field(form, "mode")), field(form, "merchant_id")
    chosen = set(form.get("permission", ()))
    optional = {each.permission_id for each in asked.permissions if each.optional}
    allowed = tuple(each for each in asked.permissions if not each.optional or each.permission_id in chosen)
    if mode is None or not merchant_id or chosen - optional or not allowed:
        return None
    return Approval(merchant_id, mode, allowed)


def _preview(asked: AuthorizationRequest) -> PreviewView:
    app, everything = asked.app, scopes_of(asked.permissions)
    return PreviewView(
        partner_app_id=app.app_id,
        name=app.name,
        modes=list(asked.modes),
        redirect_uri=asked.redirect_uri,
        permissions=[permission_model(each) for each in asked.permissions],
        required_scopes=list(scopes_of([each for each in asked.permissions if not each.optional])),
        all_scopes=list(everything),
        money_effects=money_effects(everything),
        money_budgets=[budget_words(budget) for budget in app.money_budgets],
    )
