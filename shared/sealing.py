"""Secrets that must stay readable to us (signing keys, webhook secrets) are encrypted before the database sees them.

What only needs to be recognised again (API keys, passwords, tokens) is hashed instead.
"""

from functools import cached_property

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr


def new_sealing_key() -> str:
    """A fresh key for `SEALING_KEY`."""
    return Fernet.generate_key().decode()


class SealingError(ValueError):
    """`SEALING_KEY` does not have the key that is needed."""


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
            raise SealingError("SEALING_KEY has no key that this was sealed with") from None

    @property
    def has_older(self) -> bool:
        """Whether there are keys that only open."""
        return len(self._each) > 1

    def again(self, sealed: bytes) -> bytes | None:
        """The same, sealed with the first key; `None` where it is. Raises as `open` does."""
        try:
            self._each[0].decrypt(sealed)
        except InvalidToken:
            return self.seal(self.open(sealed))
        return None

    @cached_property
    def _fernet(self) -> MultiFernet:
        if not self._each:
            raise SealingError(
                "SEALING_KEY is not set: 32 random bytes in URL-safe base64, several with commas between"
            )
        return MultiFernet(self._each)

    @cached_property
    def _each(self) -> list[Fernet]:
        return [Fernet(key.strip()) for key in self._keys.get_secret_value().split(",") if key.strip()]
