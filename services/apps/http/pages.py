"""The pages on which people sign in and out, join a merchant, and take apps out again."""

import re
from dataclasses import dataclass
from functools import partial

from litestar import Controller, get, post
from litestar.datastructures import State
from litestar.params import FromPath

from services.apps import installing
from services.apps.core.staff import LONGEST_PASSWORD, MAY_INSTALL, SHORTEST_PASSWORD
from services.apps.http.browser import Cookies, address_of, is_our_form
from services.apps.http.wiring import Wiring, by_actor
from services.apps.pages.parts import message
from services.apps.pages.staff import (
    APPS_AT_ONCE,
    MERCHANTS_AT_ONCE,
    Offer,
    Place,
    account_page,
    join_page,
    password_page,
    sign_in_page,
)
from services.apps.secrets import new_secret
from services.apps.staff import SignedIn, TooManyAttempts, csrf_token, operator
from services.apps.store import installs, partner_apps, staff
from services.apps.store.staff import Which
from shared.auth.keys import hash_credential
from shared.http.answers import AnyRequest
from shared.http.browser import FOR_PEOPLE, Form, Page, field, page, read_form, redirect
from shared.http.requests import request_id_of
from shared.postgres import transaction

_OWN_PATH = re.compile(r"/v1/oauth/authorize\?[!-\[\]-~]*|/account")
STALE = "This page had been open for too long, or was not ours. Please try again."
_NO_PASSWORD = f"The password needs {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters."
_NOT_YOURS = "This is not the password of your account."
_WRONG = "This e-mail address and password do not belong together."


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a browser."""

    request: AnyRequest
    wiring: Wiring

    @property
    def cookies(self) -> Cookies:
        return Cookies(self.wiring.base_url)

    async def session(self) -> SignedIn | None:
        """Who is signed in here."""
        return await self.wiring.staff.signed_in(self.cookies.read(self.request, "session"))

    def has_our_form(self, form: Form, secret: str | None) -> bool:
        """Whether the form comes from a page of ours that had this secret."""
        return is_our_form(self.request, form, secret, self.wiring.base_url)

    def with_form(self, build: str, secret: str, status: int = 200, **headers: str) -> Page:
        """A page with a form for somebody who is not signed in, tied to this browser."""
        shown = page(build, status, **headers)
        shown.set_cookie(self.cookies.make("form", secret))
        return shown

    def sign_in_page(
        self, next_path: str, email: str = "", problem: str | None = None, status: int = 200, **headers: str
    ) -> Page:
        """Where somebody says who they are."""
        secret, oidc = self.form_secret, self.wiring.oidc
        provider = None if oidc is None else oidc.name
        build = sign_in_page(csrf_token(secret), next_path, email, problem, provider)
        return self.with_form(build, secret, status, **headers)

    def come_in(self, session: SignedIn, next_path: str) -> Page:
        """On to where the person wanted to go, signed in."""
        answer = redirect(next_path)
        answer.set_cookie(self.cookies.make("session", session.secret))
        answer.set_cookie(self.cookies.clear("form"))
        return answer

    @property
    def form_secret(self) -> str:
        """The secret that ties forms to this browser; a new one on its first visit."""
        return self.cookies.read(self.request, "form") or new_secret("form")


def own_path(text: str) -> str:
    """Where to go after signing in: only ever a page of ours."""
    return text if _OWN_PATH.fullmatch(text) else "/account"


class SignInController(Controller):
    """Sign in and out."""

    @get("/sign-in", **FOR_PEOPLE)
    async def show_sign_in(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        next_path = own_path(request.query_params.get("next", ""))
        if await visit.session() is not None:
            return redirect(next_path)
        return visit.sign_in_page(next_path)

    @post("/sign-in", status_code=200, **FOR_PEOPLE)
    async def sign_in(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        form = await read_form(request)
        next_path, email = own_path(field(form, "next")), field(form, "email")[:300]
        again = partial(visit.sign_in_page, next_path, email)
        if not visit.has_our_form(form, visit.cookies.read(request, "form")):
            return again(STALE, 403)
        before = visit.cookies.read(request, "session")
        found = await visit.wiring.staff.sign_in(
            email, field(form, "password")[:LONGEST_PASSWORD], address_of(request), before, request_id_of(request.scope)
        )
        if isinstance(found, TooManyAttempts):
            return again(too_many(found), 429, **retry_after(found))
        if found is None:
            return again(_WRONG, 403)
        return visit.come_in(found, next_path)

    @post("/sign-out", status_code=200, **FOR_PEOPLE)
    async def sign_out(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        session, form = await visit.session(), await read_form(request)
        if session is not None and not visit.has_our_form(form, session.secret):
            return page(message("Not done", STALE, session), 403)
        if session is not None:
            await visit.wiring.staff.sign_out(session, request_id_of(request.scope))
        answer = redirect("/sign-in")
        answer.set_cookie(visit.cookies.clear("session"))
        return answer


class JoinController(Controller):
    """Accept an invitation."""

    path = "/join"

    @get(**FOR_PEOPLE)
    async def show_join(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        offer = await _offer(visit, request.query_params.get("invitation", ""))
        if offer is None:
            return _no_offer()
        secret = visit.form_secret
        return visit.with_form(join_page(csrf_token(secret), offer), secret)

    @post(status_code=200, **FOR_PEOPLE)
    async def join(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        form = await read_form(request)
        offer = await _offer(visit, field(form, "invitation"))
        if offer is None:
            return _no_offer()
        secret, password = visit.form_secret, field(form, "password")

        def again(problem: str, status: int, **headers: str) -> Page:
            return visit.with_form(join_page(csrf_token(secret), offer, problem), secret, status, **headers)

        if not visit.has_our_form(form, visit.cookies.read(request, "form")):
            return again(STALE, 403)
        if offer.way == "choose" and not _can_be_password(password):
            return again(_NO_PASSWORD, 400)
        found = await visit.wiring.staff.join(
            offer.secret,
            password[:LONGEST_PASSWORD],
            address_of(request),
            await visit.session(),
            request_id_of(request.scope),
        )
        if isinstance(found, TooManyAttempts):
            return again(too_many(found), 429, **retry_after(found))
        if found is None:
            return again(_NOT_YOURS, 403)
        return redirect("/account" if offer.way == "signed_in" else "/sign-in")


class AccountController(Controller):
    """What somebody's merchants have installed, and their own password."""

    path = "/account"

    @get(**FOR_PEOPLE)
    async def show_account(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        session = await visit.session()
        if session is None:
            return redirect("/sign-in?next=/account")
        pool, place = visit.wiring.pool, Place.of(request.query_params)
        which = Which(merchant_id=place.merchant_id, called=place.called, after=place.beyond)
        memberships = await staff.memberships(pool, session.user.user_id, which, MERCHANTS_AT_ONCE + 1)
        if place.merchant_id and not memberships:
            return page(message("Not found", "This is not a merchant of yours.", session), 404)
        merchant_ids = [each.merchant_id for each in memberships]
        grants = await installs.live_at(pool, merchant_ids, place.after, APPS_AT_ONCE + 1)
        app_ids = {grant.app_id for found in grants.values() for grant in found}
        names = await partner_apps.names(pool, sorted(app_ids))
        return page(account_page(session, memberships, grants, names, place))

    @get("/password", **FOR_PEOPLE)
    async def show_password(self, request: AnyRequest, state: State) -> Page:
        session = await Visit(request, state.apps).session()
        if session is None:
            return redirect("/sign-in?next=/account")
        return page(password_page(session))

    @post("/password", status_code=200, **FOR_PEOPLE)
    async def change_password(self, request: AnyRequest, state: State) -> Page:
        visit = Visit(request, state.apps)
        session, form = await visit.session(), await read_form(request)
        if session is None:
            return redirect("/sign-in?next=/account")
        if not visit.has_our_form(form, session.secret):
            return page(password_page(session, STALE), 403)
        password, new = field(form, "password")[:LONGEST_PASSWORD], field(form, "new")
        if not _can_be_password(new):
            return page(password_page(session, _NO_PASSWORD), 400)
        done = await visit.wiring.staff.change_password(
            session, password, new, address_of(request), request_id_of(request.scope)
        )
        if isinstance(done, TooManyAttempts):
            return page(password_page(session, too_many(done)), 429, **retry_after(done))
        return redirect("/account") if done else page(password_page(session, _NOT_YOURS), 403)

    @post("/grants/{grant_id:str}/revoke", status_code=200, **FOR_PEOPLE)
    async def revoke(self, request: AnyRequest, state: State, grant_id: FromPath[str]) -> Page:
        visit = Visit(request, state.apps)
        session, form = await visit.session(), await read_form(request)
        if session is None:
            return redirect("/sign-in?next=/account")
        if not visit.has_our_form(form, session.secret):
            return page(message("Not done", STALE, session), 403)
        by = by_actor(request, visit.wiring, operator(session.user.user_id))
        async with transaction(visit.wiring.pool) as connection:
            held = await installs.lock_by_grant(connection, grant_id)
            role = None if held is None else await staff.role_at(connection, session.user.user_id, held[0].merchant_id)
            if held is None or role not in MAY_INSTALL:
                return page(message("Not found", "There is no such app at your merchants.", session), 404)
            await installing.revoke(connection, by, *held, [grant_id])
        visit.wiring.committed()
        return redirect(Place.of({name: field(form, name) for name in form}).path)


async def _offer(visit: Visit, secret: str) -> Offer | None:
    found = await staff.read_invitation(visit.wiring.pool, hash_credential(secret), visit.wiring.clock())
    if found is None:
        return None
    invitation, user = found
    name = await staff.merchant_name(visit.wiring.pool, invitation.merchant_id)
    way = await visit.wiring.staff.way_in(invitation, user, await visit.session())
    return Offer(secret, user.email, name, way)


def _can_be_password(text: str) -> bool:
    return SHORTEST_PASSWORD <= len(text) <= LONGEST_PASSWORD


def _no_offer() -> Page:
    return page(
        message("No longer valid", "This invitation was used, or is older than a week. Ask for a new one."), 404
    )


def too_many(waiting: TooManyAttempts) -> str:
    """What to tell somebody who is not heard now."""
    return f"Too many attempts. Please wait {waiting.retry_after_s} seconds and try again."


def retry_after(waiting: TooManyAttempts) -> dict[str, str]:
    """The same for programs."""
    return {"Retry-After": str(waiting.retry_after_s)}
