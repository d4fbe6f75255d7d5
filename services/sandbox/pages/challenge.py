"""The page of a challenge. Whatever comes from outside passes through `escape`."""

import re
from html import escape

from services.sandbox.core.payment import Payment
from shared.http.html import people_page
from shared.immutable import immutable
from shared.money import format_money

_WAY = re.compile(r"(https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?)(?:[/?#][!-~]*)?")
_MODE = '<span class="mode">Test</span>'


@immutable
class Way:
    """Back to the shop."""

    url: str
    origin: str

    @classmethod
    def of(cls, return_url: str | None) -> "Way | None":
        """Where this leads; nowhere, unless it is an http or https address."""
        found = _WAY.fullmatch(return_url or "")
        return None if found is None else cls(found[0], found[1])


def challenge_page(payment: Payment) -> str:
    """Was it you?"""
    amount = escape(format_money(payment.amount_minor, payment.currency))
    return people_page(
        "Confirm your payment · Sandbox bank",
        f"""
<main class="narrow"><h1>Confirm your payment</h1>
<p>Your bank wants to know that it is you who pays.</p>
<section class="card"><h2>{amount}</h2><p class="quiet">Order {escape(payment.order_id)}</p></section>
<form method="post"><div class="buttons">
<button type="submit" name="decision" value="approve">Approve</button>
<button class="second" type="submit" name="decision" value="decline">Decline</button></div></form>
<p class="quiet">This is a test: no real money moves, whatever you press.</p></main>""",
        _MODE,
    )


def over_page(payment: Payment, way: Way | None) -> str:
    """There is nothing to answer any more."""
    paid = payment.held_minor or payment.collected_minor
    said = "Your payment was approved." if paid else "This payment was not approved, or is over."
    onwards = "You can close this page."
    if way is not None:
        onwards = f'<a href="{escape(way.url)}">Go back to the shop</a>'
    return people_page(
        "Done · Sandbox bank",
        f'<main class="narrow"><h1>Done</h1><p>{said}</p><p>{onwards}</p></main>',
        _MODE,
    )


def gone_page() -> str:
    """No such challenge."""
    return people_page(
        "Not found · Sandbox bank",
        '<main class="narrow"><h1>Not found</h1><p>There is nothing to confirm at this address.</p></main>',
        _MODE,
    )


def later_page() -> str:
    """Not now."""
    return people_page(
        "Not now · Sandbox bank",
        '<main class="narrow"><h1>Not now</h1><p>Please load this page again in a moment.</p></main>',
        _MODE,
    )
