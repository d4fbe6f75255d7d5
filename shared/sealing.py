"""Secrets that must stay readable to us (signing keys, webhook secrets) are encrypted before the database sees them.

What only needs to be recognised again (API keys, passwords, tokens) is hashed instead.
"""

from functools import cached_property

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr


def new_sealing_key() -> str:
    """A fresh key for `SEALING_KEY`."""
    return Fernet.generate_key().decode()


class Sealer:
    """Seals with the first key of `SEALING_KEY` and opens with any of them, so that a new key can be put in front."""

    def __init__(self, keys: SecretStr) -> None:
        self._keys = keys

    def seal(self, plain: bytes) -> bytes:
        """Encrypted and authenticated (Fernet: AES-128-CBC with HMAC-SHA-256)."""
        return self._fernet.encrypt(plain)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed; fails when none of the keys sealed it."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise ValueError("SEALING_KEY has no key that this was sealed with") from None

    @cached_property
    def _fernet(self) -> MultiFernet:
        names = [key.strip() for key in self._keys.get_secret_value().split(",") if key.strip()]
        if not names:
            raise ValueError("SEALING_KEY is not set: 32 random bytes in URL-safe base64, several with commas between")
        return MultiFernet([Fernet(name) for name in names])
