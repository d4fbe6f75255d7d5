"""How OAuth says no (RFC 6749, 5.2)."""

from typing import Literal

from shared.immutable import immutable

TokenErrorCode = Literal[
    "invalid_request", "invalid_client", "invalid_grant", "unsupported_grant_type", "invalid_scope"
]


@immutable
class TokenError:
    """Why an app gets no token."""

    error: TokenErrorCode
    detail: str
