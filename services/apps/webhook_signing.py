"""Signatures of webhooks, as https://www.standardwebhooks.com says; secrets are sealed in the database."""

import secrets
from base64 import b64encode
from contextlib import suppress
from datetime import datetime
from functools import lru_cache

from standardwebhooks import Webhook

from shared.sealing import Sealer, SealingError

_SECRET_BYTES = 32
_SECRETS_AT_HAND = 10_000


def new_secret() -> str:
    """A secret that both sides know; shown once, kept sealed."""
    return "whsec_" + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


class WebhookSigner:
    """Signs with an endpoint's secret, and while that is being replaced with the one before it too."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self._opened = lru_cache(maxsize=_SECRETS_AT_HAND)(self._open)

    def seal(self, secret: str) -> bytes:
        """What is stored."""
        return self._sealer.seal(secret.encode())

    def headers(
        self, event_id: str, now: datetime, body: bytes, sealed: bytes, previous: bytes | None
    ) -> dict[str, str]:
        """The headers of a request; the event's id is the same in every attempt, the time is not.

        Raises `SealingError` where the secret cannot be opened; one that is being replaced is left out then.
        """
        text = body.decode()
        signers = [self._opened(sealed)]
        if previous is not None:
            with suppress(SealingError):
                signers.append(self._opened(previous))
        return {
            "Content-Type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(event_id, now, text) for signer in signers),
        }

    def _open(self, sealed: bytes) -> Webhook:
        return Webhook(self._sealer.open(sealed).decode())
