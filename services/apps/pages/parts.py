"""What pages are made of. Whatever comes from outside passes through `escape`."""

from collections.abc import Sequence
from html import escape

from services.apps.staff import SignedIn
from shared.http.html import people_page

__all__ = ["alert", "escape", "hidden", "items", "message", "page", "searched", "who"]


def page(title: str, body: str, session: SignedIn | None = None) -> str:
    """A whole page; with a session it says whose, and lets them out."""
    return people_page(title, body, "" if session is None else who(session))


def who(session: SignedIn) -> str:
    """Who is signed in, and the way out."""
    return f"""
<div class="who"><span>{escape(session.user.email)}</span>
<form method="post" action="/sign-out">{hidden(csrf=session.csrf_token)}
<button class="plain" type="submit">Sign out</button></form></div>"""


def hidden(**fields: str) -> str:
    """Fields that nobody sees."""
    return "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in fields.items())


def alert(text: str | None) -> str:
    """What went wrong, said to screen readers at once."""
    return "" if text is None else f'<p class="alert" role="alert">{escape(text)}</p>'


def items(texts: Sequence[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


LONGEST_SEARCH = 100


def searched(text: str) -> str:
    """What somebody looks for, without what cannot be shown."""
    return "".join(letter for letter in text.strip() if letter.isprintable())[:LONGEST_SEARCH]


def message(title: str, text: str, session: SignedIn | None = None) -> str:
    """A page that says one thing."""
    return page(title, f"<main><h1>{escape(title)}</h1><p>{escape(text)}</p></main>", session)
