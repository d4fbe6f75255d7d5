"""The page on which a merchant approves an app. What the app can do to money comes first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.apps.core.authorization import AuthorizationRequest
from services.apps.core.partner_apps import Permission, origin_of, scopes_of
from services.apps.core.words import budget_words, money_effects, scope_words
from services.apps.pages.parts import LONGEST_SEARCH, alert, escape, hidden, items, page
from services.apps.staff import SignedIn
from services.apps.store.staff import Membership

MERCHANTS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Chosen:
    """What the form said when it came, to be shown again."""

    called: str = ""
    """A part of the merchant's name that was looked for."""
    merchant_id: str = ""
    mode: str = ""
    permission_ids: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Consent:
    """Who is asked for what."""

    asked: AuthorizationRequest
    made_by: str
    action: str
    """Where the form goes: the request itself, which is judged again when it comes. The form says what was shown."""
    choices: Sequence[Membership]
    """The merchants for which the person may approve, by name; one more than fit says that there are more."""
    chosen: Chosen


def consent_page(session: SignedIn, consent: Consent, problem: str | None = None) -> str:
    """May this app in?"""
    name = escape(consent.asked.app.name)
    chosen = consent.chosen
    if not consent.choices and not chosen.called:
        body = "<p>Only an owner or manager of a merchant can install apps, and you are neither anywhere.</p>"
        return page("Not yours to approve · Throughline", f"<main><h1>Not yours to approve</h1>{body}</main>", session)
    return page(
        f"{consent.asked.app.name} · Throughline",
        f"""
<main class="narrow"><h1>Install {name}?</h1>
<p class="quiet">Made by {escape(consent.made_by)}. You go back to {escape(origin_of(consent.asked.redirect_uri))}.</p>
{alert(problem)}{_money(consent.asked)}
<form method="post" action="{escape(consent.action)}">{hidden(csrf=session.csrf_token, shown=consent.asked.digest)}
{_required(consent.asked.permissions)}{_optional(consent.asked.permissions, chosen)}
{_merchant(consent.choices, chosen)}{_mode(consent.asked, chosen)}
<div class="buttons"><button type="submit" name="decision" value="approve">Install</button>
<button class="second" type="submit" name="decision" value="refuse">Refuse</button></div>
<p class="quiet">You can take this back at any time, on <a href="/account">your merchants' page</a>; it takes effect
within a second.</p></form></main>""",
        session,
    )


def _money(asked: AuthorizationRequest) -> str:
    certain = money_effects(scopes_of([each for each in asked.permissions if not each.optional]))
    everything = money_effects(scopes_of(asked.permissions))
    maybe = [effect for effect in everything if effect not in certain]
    if not everything:
        return '<section class="money calm"><h2>Money</h2><p>This app cannot move money or change prices.</p></section>'
    first = items(certain) if certain else ""
    second = f"<p>Only if you allow it below:</p>{items(maybe)}" if maybe else ""
    budgets = [budget_words(budget) for budget in asked.app.money_budgets]
    promise = (
        f"<p>The app's own promise, which Throughline does not check yet: it</p>{items(budgets)}" if budgets else ""
    )
    return f'<section class="money"><h2>What it can do to your money</h2>{first}{second}{promise}</section>'


def _required(permissions: Sequence[Permission]) -> str:
    rows = "".join(f"<li>{_permission(each)}</li>" for each in permissions if not each.optional)
    return f'<h2>What it needs</h2><ul class="permissions">{rows}</ul>' if rows else ""


def _optional(permissions: Sequence[Permission], chosen: Chosen) -> str:
    rows = "".join(
        f'<li><input type="checkbox" id="p-{escape(each.permission_id)}" name="permission" '
        f'value="{escape(each.permission_id)}"{_checked(each.permission_id in chosen.permission_ids)}>'
        f'<label for="p-{escape(each.permission_id)}">{_permission(each)}</label>'
        "</li>"
        for each in permissions
        if each.optional
    )
    if not rows:
        return ""
    return f'<fieldset><legend>What you can also allow</legend><ul class="permissions choices">{rows}</ul></fieldset>'


def _checked(yes: bool) -> str:
    return " checked" if yes else ""


def _permission(permission: Permission) -> str:
    words = "; ".join(scope_words(scopes_of([permission])))
    return (
        f"<strong>{escape(permission.title)}</strong> <span>{escape(permission.description)}</span> "
        f'<span class="quiet">Allows: {escape(words)}.</span>'
    )


def _merchant(choices: Sequence[Membership], chosen: Chosen) -> str:
    shown = choices[:MERCHANTS_AT_ONCE]
    search = _search(chosen.called) if chosen.called or len(choices) > len(shown) else ""
    if not shown:
        return f"<h2>Merchant</h2><p>You can install apps at none that is called so.</p>{search}"
    if len(shown) == 1:
        only = shown[0]
        return f"<h2>Merchant</h2><p>{escape(only.merchant_name)}</p>{hidden(merchant_id=only.merchant_id)}{search}"
    options = "".join(
        f'<option value="{escape(each.merchant_id)}"{" selected" if each.merchant_id == chosen.merchant_id else ""}>'
        f"{escape(each.merchant_name)}</option>"
        for each in shown
    )
    more = '<p class="quiet">There are more of them: look for yours.</p>' if len(choices) > len(shown) else ""
    return (
        '<label class="head" for="merchant">Merchant</label><select id="merchant" name="merchant_id" required>'
        f'<option value="">Choose one</option>{options}</select>{more}{search}'
    )


def _search(called: str) -> str:
    """Sends the whole form, so that nothing that was chosen is lost. As the first button it is what Enter presses."""
    return f"""
<div class="search"><label for="called">Find a merchant by its name</label>
<div><input id="called" name="called" type="search" maxlength="{LONGEST_SEARCH}" value="{escape(called)}">
<button class="second" type="submit" name="decision" value="find" formnovalidate>Find</button></div></div>"""


_MODES = {"test": "Test: pretend money only", "live": "Live: real orders and real money"}


def _mode(asked: AuthorizationRequest, chosen: Chosen) -> str:
    if len(asked.modes) == 1:
        only = asked.modes[0]
        return f"<h2>Environment</h2><p>{_MODES[only]}</p>{hidden(mode=only)}"
    rows = "".join(
        f'<div class="choice"><input type="radio" id="m-{mode}" name="mode" value="{mode}" required'
        f'{_checked(mode == chosen.mode)}><label for="m-{mode}">{_MODES[mode]}</label></div>'
        for mode in asked.modes
    )
    return f"<fieldset><legend>Environment</legend>{rows}</fieldset>"
