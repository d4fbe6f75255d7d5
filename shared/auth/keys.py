"""API keys: `tl_test_…` or `tl_live_…`, random, with a checksum by which secret scanners tell them from other text."""

import hmac
import re
import secrets
from hashlib import sha256
from zlib import crc32

from shared.contracts.access import Environment

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS = 32
"""32 characters out of 62 are 190 bits: no salt or slow hash is needed for what cannot be guessed."""
_CHECKSUM_CHARS = 6
_SHOWN_CHARS = 8
_KEY = re.compile(rf"tl_(test|live)_[0-9A-Za-z]{{{_RANDOM_CHARS + _CHECKSUM_CHARS}}}", re.ASCII)


def new_api_key(environment: Environment) -> str:
    """A fresh secret; show it once and keep only `hash_credential` of it."""
    body = f"tl_{environment}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return body + _checksum(body)


def shown_prefix(key: str) -> str:
    """How the key begins, by which its owner knows it again: 24 unknown characters are left."""
    return key[: key.rindex("_") + 1 + _SHOWN_CHARS]


def looks_like_key(secret: str) -> bool:
    """Whether it has the form and the checksum of a key; says nothing about whether it is one."""
    if _KEY.fullmatch(secret) is None:
        return False
    body, checksum = secret[:-_CHECKSUM_CHARS], secret[-_CHECKSUM_CHARS:]
    return hmac.compare_digest(_checksum(body), checksum)


def hash_credential(secret: str) -> str:
    """What is stored and looked up instead of the secret: its SHA-256 in lower-case hex."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _checksum(body: str) -> str:
    number = crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
