"""The pages on which people sign in, join a merchant, and see what is installed there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from services.apps.core.staff import LONGEST_PASSWORD, MAY_INSTALL, SHORTEST_PASSWORD
from services.apps.core.words import scope_words
from services.apps.pages.parts import LONGEST_SEARCH, alert, escape, hidden, items, page, searched
from services.apps.staff import SignedIn, WayIn
from services.apps.store.installs import EnvironmentGrant
from services.apps.store.staff import Membership


def sign_in_page(
    csrf: str, next_path: str, email: str = "", problem: str | None = None, provider: str | None = None
) -> str:
    """Who are you? With a way to the company's own provider, where there is one."""
    return page(
        "Sign in · Throughline",
        f"""
<main class="narrow"><h1>Sign in</h1>{alert(problem)}
<form method="post" action="/sign-in">{hidden(csrf=csrf, next=next_path)}
<label for="email">E-mail address</label>
<input id="email" name="email" type="email" autocomplete="username" required maxlength="300" value="{escape(email)}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required
  maxlength="{LONGEST_PASSWORD}">
<button type="submit">Sign in</button></form>{_elsewhere(provider, next_path)}</main>""",
    )


def connect_page(csrf: str, email: str, provider: str, problem: str | None = None) -> str:
    """The provider has vouched for somebody; is the account theirs?"""
    return page(
        "Connect your account · Throughline",
        f"""
<main class="narrow"><h1>Connect your account</h1>{alert(problem)}
<p>There is an account for <strong>{escape(email)}</strong> already. Give its password this once; from then on you can
sign in with {escape(provider)} alone.</p>
<form method="post" action="/sign-in/oidc/connect">{hidden(csrf=csrf, username=email)}
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required
  maxlength="{LONGEST_PASSWORD}">
<button type="submit">Connect and sign in</button></form>
<p class="quiet"><a href="/sign-in">Back to signing in</a></p></main>""",
    )


def _elsewhere(provider: str | None, next_path: str) -> str:
    if provider is None:
        return ""
    return f"""
<p class="or"><span>or</span></p>
<a class="button second" href="/sign-in/oidc?next={escape(quote(next_path, safe=""))}">
Sign in with {escape(provider)}</a>"""


@dataclass(frozen=True, slots=True)
class Offer:
    """An invitation as its page shows it."""

    secret: str
    email: str
    merchant_name: str
    way: WayIn


def join_page(csrf: str, offer: Offer, problem: str | None = None) -> str:
    """Come in: as who is signed in, with a new password, or with the one that is known."""
    return page(
        "Join · Throughline",
        f"""
<main class="narrow"><h1>Join {escape(offer.merchant_name)}</h1>{alert(problem)}
<p>You have been invited as <strong>{escape(offer.email)}</strong>.</p>
{_join_form(csrf, offer)}</main>""",
    )


def _join_form(csrf: str, offer: Offer) -> str:
    if offer.way == "sign_in":
        return '<p>Please <a href="/sign-in">sign in</a> first, and then open this link again.</p>'
    if offer.way == "reset":
        return "<p>Your password was reset. Ask whoever runs Throughline for a link: this one cannot set another.</p>"
    return f"""
<form method="post" action="/join">{hidden(csrf=csrf, invitation=offer.secret, username=offer.email)}
{"" if offer.way == "signed_in" else _join_password(is_new=offer.way == "choose")}
<button type="submit">Join</button></form>"""


def _join_password(*, is_new: bool) -> str:
    return _password("password", "Choose a password" if is_new else "Your password", is_new=is_new)


def _password(name: str, label: str, *, is_new: bool) -> str:
    rule = f"At least {SHORTEST_PASSWORD} characters. A few unrelated words are easy to remember and hard to guess."
    hint = f'<p class="quiet" id="rule">{rule}</p>' if is_new else ""
    return f"""<label for="{name}">{label}</label>{hint}
<input id="{name}" name="{name}" type="password" autocomplete="{"new" if is_new else "current"}-password" required
  maxlength="{LONGEST_PASSWORD}"{' aria-describedby="rule"' if is_new else ""}>"""


def password_page(session: SignedIn, problem: str | None = None) -> str:
    """Another password for who knows theirs."""
    return page(
        "Your password · Throughline",
        f"""
<main class="narrow"><h1>Change your password</h1>{alert(problem)}
<p>Wherever else you are signed in, you will be signed out.</p>
<form method="post" action="/account/password">{hidden(csrf=session.csrf_token, username=session.user.email)}
{_password("password", "Your password", is_new=False)}{_password("new", "New password", is_new=True)}
<button type="submit">Change it</button></form>
<p class="quiet"><a href="/account">Back to your merchants</a></p></main>""",
        session,
    )


_ID = re.compile(r"[a-z]+_[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Place:
    """Which part of the account page: one merchant's apps after one of them, or the first apps of some merchants."""

    merchant_id: str = ""
    after: str = ""
    called: str = ""
    """A part of the merchants' names."""
    beyond: str = ""
    """The merchant that comes before them."""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> "Place":
        """As an address or a form names it."""

        def named(name: str) -> str:
            text = fields.get(name, "")
            return text if _ID.fullmatch(text) else ""

        return cls(named("merchant"), named("after"), searched(fields.get("called", "")), named("beyond"))

    @property
    def fields(self) -> dict[str, str]:
        """As a form names it."""
        named = {"merchant": self.merchant_id, "after": self.after, "called": self.called, "beyond": self.beyond}
        return {name: text for name, text in named.items() if text}

    @property
    def path(self) -> str:
        """Its address."""
        return f"/account?{urlencode(self.fields)}" if self.fields else "/account"


APPS_AT_ONCE = 20
"""Of a merchant, on one page."""
MERCHANTS_AT_ONCE = 20


def account_page(
    session: SignedIn,
    memberships: Sequence[Membership],
    grants: Mapping[str, Sequence[EnvironmentGrant]],
    names: Mapping[str, str],
    place: Place,
) -> str:
    """Where the person belongs, and which apps each merchant has let in; one more than fit says that there are more."""
    shown = memberships[:MERCHANTS_AT_ONCE]
    body = "".join(_merchant(session, each, grants[each.merchant_id], names, place) for each in shown)
    if not shown:
        body = (
            "<p>None of your merchants is called so.</p>"
            if place.called
            else "<p>You do not belong to any merchant.</p>"
        )
    if len(memberships) > len(shown):
        following = escape(Place(called=place.called, beyond=shown[-1].merchant_id).path)
        body += f'<p><a href="{following}">More of your merchants</a></p>'
    if place.fields:
        body += f'<p><a href="{Place().path}">All your merchants</a></p>'
    if session.user.password_hash is not None:
        body += '<p class="quiet"><a href="/account/password">Change your password</a></p>'
    search = _search(place.called) if place.called or place.beyond or len(memberships) > len(shown) else ""
    return page("Your merchants · Throughline", f"<main><h1>Your merchants</h1>{search}{body}</main>", session)


def _search(called: str) -> str:
    return f"""
<form class="search" method="get" action="/account" role="search">
<label for="called">Find a merchant by its name</label>
<div><input id="called" name="called" type="search" maxlength="{LONGEST_SEARCH}" value="{escape(called)}">
<button class="second" type="submit">Find</button></div></form>"""


def _merchant(
    session: SignedIn,
    membership: Membership,
    grants: Sequence[EnvironmentGrant],
    names: Mapping[str, str],
    place: Place,
) -> str:
    shown, name = grants[:APPS_AT_ONCE], escape(membership.merchant_name)
    installed = "".join(
        _installed(session, each, names[each.app_id], place if membership.role in MAY_INSTALL else None)
        for each in shown
    )
    none = "<p>No further apps are installed.</p>" if place.after else "<p>No apps are installed.</p>"
    more = ""
    if len(grants) > len(shown):
        following = escape(Place(membership.merchant_id, shown[-1].grant_id).path)
        more = f'<p><a href="{following}">More apps of {name}</a></p>'
    return f"""
<section class="card"><h2>{name}</h2>
<p class="quiet">Your role: {escape(membership.role)}</p>
{installed or none}{more}</section>"""


def _installed(session: SignedIn, grant: EnvironmentGrant, name: str, place: Place | None) -> str:
    """With a place, the app can be removed, which leads back to it."""
    form = hidden(csrf=session.csrf_token, **({} if place is None else place.fields))
    revoke = f"""
<form method="post" action="/account/grants/{escape(grant.grant_id)}/revoke">{form}
<button class="danger" type="submit" aria-label="Remove {escape(name)} ({grant.environment})">Remove</button></form>"""
    return f"""
<div class="installed"><div><h3>{escape(name)} <span class="mode">{grant.environment}</span></h3>
{items(scope_words(grant.scopes))}</div>{"" if place is None else revoke}</div>"""
