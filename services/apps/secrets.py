"""Secrets of OAuth: 256 random bits behind a prefix by which secret scanners know them. Kept only as hashes."""

import secrets
from typing import Literal

_RANDOM_BYTES = 32

Kind = Literal["client", "code", "refresh", "invitation", "session", "form", "oidc"]


def new_secret(kind: Kind) -> str:
    """A fresh secret; show it once and keep only `hash_credential` of it."""
    return f"tl_{kind}_{secrets.token_urlsafe(_RANDOM_BYTES)}"
