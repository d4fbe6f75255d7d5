"""Identifiers that follow from what they name, so that any repeat, in any order of arrival, finds the same one."""

from base64 import b32encode
from functools import lru_cache
from hashlib import sha256

_LENGTH = 26
"""As long as a ULID; 130 bits, so that no two names ever share one."""


@lru_cache(maxsize=16_384)
def derived_id(prefix: str, *names: str | None) -> str:
    """The identifier of what these names tell apart."""
    told = b"".join(b"-" if name is None else str(len(name)).encode() + b":" + name.encode() for name in names)
    digest = sha256(prefix.encode() + b"\0" + told).digest()
    return f"{prefix}_{b32encode(digest[:20])[:_LENGTH].decode()}"


def payment_id_of(channel_id: str, payment_reference: str) -> str:
    """The payment leg that a channel's reference names."""
    return derived_id("pay", channel_id, payment_reference)


def refund_id_of(channel_id: str, payment_reference: str, refund_reference: str) -> str:
    """The refund that a channel's reference names: that of one payment, since a reference may span several."""
    return derived_id("ref", channel_id, payment_reference, refund_reference)
