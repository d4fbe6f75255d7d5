"""The pages on which people sign in, join a merchant, and see what is installed there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.apps.core.staff import LONGEST_PASSWORD, MAY_INSTALL, SHORTEST_PASSWORD
from services.apps.core.words import scope_words
from services.apps.pages.parts import alert, escape, hidden, items, page
from services.apps.staff import SignedIn
from services.apps.store.installs import EnvironmentGrant
from services.apps.store.staff import Membership


def sign_in_page(csrf: str, next_path: str, email: str = "", problem: str | None = None) -> str:
    """Who are you?"""
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
<button type="submit">Sign in</button></form></main>""",
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """An invitation as its page shows it."""

    secret: str
    email: str
    merchant_name: str
    is_new: bool


def join_page(csrf: str, offer: Offer, problem: str | None = None) -> str:
    """Come in: with a new password, or with the one that is known."""
    rule = f"At least {SHORTEST_PASSWORD} characters. A few unrelated words are easy to remember and hard to guess."
    label, complete = ("Choose a password", "new-password") if offer.is_new else ("Your password", "current-password")
    hint = f'<p class="quiet" id="rule">{rule}</p>' if offer.is_new else ""
    return page(
        "Join · Throughline",
        f"""
<main class="narrow"><h1>Join {escape(offer.merchant_name)}</h1>{alert(problem)}
<p>You have been invited as <strong>{escape(offer.email)}</strong>.</p>
<form method="post" action="/join">{hidden(csrf=csrf, invitation=offer.secret, username=offer.email)}
<label for="password">{label}</label>{hint}
<input id="password" name="password" type="password" autocomplete="{complete}" required
  maxlength="{LONGEST_PASSWORD}"{' aria-describedby="rule"' if offer.is_new else ""}>
<button type="submit">Join</button></form></main>""",
    )


def account_page(
    session: SignedIn,
    memberships: Sequence[Membership],
    grants: Mapping[str, Sequence[EnvironmentGrant]],
    names: Mapping[str, str],
) -> str:
    """Where the person belongs, and which apps each merchant has let in."""
    parts = [_merchant(session, each, grants.get(each.merchant_id, ()), names) for each in memberships]
    body = "".join(parts) or "<p>You do not belong to any merchant.</p>"
    return page("Your merchants · Throughline", f"<main><h1>Your merchants</h1>{body}</main>", session)


def _merchant(
    session: SignedIn, membership: Membership, grants: Sequence[EnvironmentGrant], names: Mapping[str, str]
) -> str:
    installed = "".join(
        _installed(session, each, names[each.app_id], membership.role in MAY_INSTALL) for each in grants
    )
    return f"""
<section class="card"><h2>{escape(membership.merchant_name)}</h2>
<p class="quiet">Your role: {escape(membership.role)}</p>
{installed or "<p>No apps are installed.</p>"}</section>"""


def _installed(session: SignedIn, grant: EnvironmentGrant, name: str, may_revoke: bool) -> str:
    revoke = f"""
<form method="post" action="/account/grants/{escape(grant.grant_id)}/revoke">{hidden(csrf=session.csrf_token)}
<button class="danger" type="submit" aria-label="Remove {escape(name)} ({grant.environment})">Remove</button></form>"""
    return f"""
<div class="installed"><div><h3>{escape(name)} <span class="mode">{grant.environment}</span></h3>
{items(scope_words(grant.scopes))}</div>{revoke if may_revoke else ""}</div>"""
