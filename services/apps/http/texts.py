"""Texts that lead people or programs somewhere.

Each rule is a pattern, which the API reference shows; a refusal says it in words.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from shared.contracts.model import Clean

# Controls, spaces but the ordinary one, and what joins, parts, turns around or tags its neighbours. Those above U+FFFF
# stand for themselves, because there is no way to name them that every engine knows.
_UNSEEN = (
    r"\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u3000\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
_VISIBLE = rf"^ *[^ {_UNSEEN}][^{_UNSEEN}]*$"
_IN_EMAIL = rf'[^ "()<>\[\]:;,@\\{_UNSEEN}]+'
_EMAIL = rf"^{_IN_EMAIL}@{_IN_EMAIL}\.{_IN_EMAIL}$"
_LABEL = r"[A-Za-z0-9]+(-+[A-Za-z0-9]+)*"
HOST = rf"({_LABEL}(\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\])"
_PORT = r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
_REST = rf'{_PORT}([/?][!"$-\[\]-~]*)?$'
_LOCAL = r"(localhost|127\.0\.0\.1|\[::1\])"


def _written(pattern: str, words: str) -> AfterValidator:
    form = re.compile(pattern)

    def check(text: str) -> str:
        if form.fullmatch(text) is None:
            raise ValueError(words)
        return text

    return AfterValidator(check)


def _reference(pattern: str) -> Any:
    return Field(json_schema_extra={"pattern": pattern})


_SHOWN, _SHOWN_AS = _written(_VISIBLE, "must be visible, without line breaks"), _reference(_VISIBLE)
"""For what the people who approve are shown: nothing in it can pretend to be something else on the page."""
_HTTP = _written(
    rf"^https?://{HOST}{_REST}", "must be a URL in visible ASCII, with a host, without user name and fragment"
)

Name = Annotated[str, StringConstraints(min_length=1, max_length=100), _SHOWN, _SHOWN_AS, Clean]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200), _SHOWN, _SHOWN_AS, Clean]
Description = Annotated[str, StringConstraints(min_length=1, max_length=1_000), _SHOWN, _SHOWN_AS, Clean]
Email = Annotated[
    str, StringConstraints(max_length=254), _written(_EMAIL, "must be an e-mail address"), _reference(_EMAIL), Clean
]
# Where plain HTTP is allowed for development beyond this, other rules say so.
Url = Annotated[str, StringConstraints(max_length=2_000), _HTTP, _reference(rf"^https://{HOST}{_REST}")]
RedirectUri = Annotated[
    str, StringConstraints(max_length=500), _HTTP, _reference(rf"^(https://{HOST}|http://{_LOCAL}){_REST}")
]
