"""Identifiers that follow from what they name, so that any repeat, in any order of arrival, finds the same one."""

from hashlib import sha256

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26


def derived_id(prefix: str, *names: str | None) -> str:
    """The identifier of what these names tell apart; 130 bits of a digest, in the alphabet of ULIDs."""
    told = b"".join(b"-" if name is None else str(len(name)).encode() + b":" + name.encode() for name in names)
    number = int.from_bytes(sha256(prefix.encode() + b"\0" + told).digest()[:17], "big")
    digits = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(digits)}"


def payment_id_of(channel_id: str, payment_reference: str) -> str:
    """The payment leg that a channel's reference names."""
    return derived_id("pay", channel_id, payment_reference)


def refund_id_of(channel_id: str, payment_reference: str, refund_reference: str) -> str:
    """The refund that a channel's reference names: that of one payment, since a reference may span several."""
    return derived_id("ref", channel_id, payment_reference, refund_reference)
