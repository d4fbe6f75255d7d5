"""The keys that sign access tokens: made, announced to every service, exchanged for new ones, and used.

A new key is known everywhere (on `access.grants` and as JWKS) for an hour before it signs anything; an old one counts
until the last token that it signed has long been over.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import structlog
from joserfc import jwt
from joserfc.jwk import ECKey

from services.apps.grants import SOURCE
from services.apps.store import signing_keys
from services.apps.store.signing_keys import KeyRow
from shared.auth.tokens import ALGORITHM, TYPE
from shared.clock import Clock
from shared.contracts.access import PublicKey, SigningKey
from shared.envelope import Envelope
from shared.ids import new_id
from shared.outbox import OutboxMessage, put
from shared.postgres import Connection, Pool, transaction
from shared.sealing import Sealer
from shared.topics import ACCESS_GRANTS

KEY_SIGNS_FOR = timedelta(days=30)
ANNOUNCED_BEFORE = timedelta(hours=1)
COUNTS_AFTER = timedelta(hours=1)
"""Longer than a token lasts, after its key's successor began to sign."""
_KNOWN_FOR = timedelta(minutes=1)

log = structlog.get_logger(__name__)


class TokenSigner:
    """Signs with the newest key that everybody knows by now, and sees to it that there is one."""

    def __init__(self, pool: Pool, sealer: Sealer, clock: Clock, committed: Callable[[], None]) -> None:
        self._pool, self._sealer, self._clock, self._committed = pool, sealer, clock, committed
        self._known: list[KeyRow] = []
        self._known_until: datetime | None = None
        self._private: tuple[str, ECKey] | None = None

    async def ready(self) -> None:
        """The keys are at hand afterwards; to be awaited before a transaction in which something is signed."""
        await self._keys()

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The claims as an access token (RFC 9068)."""
        now = self._clock()
        row = [key for key in self._known if key.signs_from <= now][-1]
        header = {"typ": TYPE, "alg": ALGORITHM, "kid": row.kid}
        return jwt.encode(header, dict(claims), self._key_of(row), algorithms=[ALGORITHM])

    async def jwks(self) -> dict[str, Any]:
        """The public keys as JWKS (RFC 7517): those that sign, have signed or will."""
        return {
            "keys": [
                {**row.public.model_dump(), "kid": row.kid, "alg": ALGORITHM, "use": "sig"}
                for row in await self._keys()
            ]
        }

    async def keep(self) -> None:
        """There is a key that signs; one that grew old has a successor, and one that is no longer needed retires."""
        now = self._clock()
        async with transaction(self._pool) as connection:
            await signing_keys.lock(connection)
            keys = await signing_keys.active(connection)
            if not keys or now - keys[-1].created_at >= KEY_SIGNS_FOR:
                keys.append(await self._make(connection, now, now + ANNOUNCED_BEFORE if keys else now))
            for key, successor in pairwise(keys):
                if now - successor.signs_from >= COUNTS_AFTER:
                    await signing_keys.retire(connection, key.kid)
                    await _announce(connection, SigningKey(kid=key.kid, public_jwk=key.public, status="retired"), now)
                    log.info("signing_key_retired", kid=key.kid)
        self._committed()
        self._known_until = None

    async def _keys(self) -> list[KeyRow]:
        now = self._clock()
        if self._known_until is None or now >= self._known_until:
            self._known = await signing_keys.active(self._pool)
            if not self._known:
                await self.keep()
                self._known = await signing_keys.active(self._pool)
            self._known_until = now + _KNOWN_FOR
        return self._known

    async def _make(self, connection: Connection, now: datetime, signs_from: datetime) -> KeyRow:
        key = ECKey.generate_key("P-256", private=True)
        found = key.as_dict(private=True)
        public = PublicKey(x=str(found["x"]), y=str(found["y"]))
        row = KeyRow(new_id("sgk"), public, self._sealer.seal(json.dumps(found).encode()), now, signs_from)
        await signing_keys.insert(connection, row)
        await _announce(connection, SigningKey(kid=row.kid, public_jwk=public), now)
        log.info("signing_key_made", kid=row.kid, signs_from=signs_from.isoformat())
        return row

    def _key_of(self, row: KeyRow) -> ECKey:
        if self._private is None or self._private[0] != row.kid:
            self._private = row.kid, ECKey.import_key(json.loads(self._sealer.open(row.sealed)))
        return self._private[1]


async def announce_all(connection: Connection, now: datetime) -> None:
    """Every service is told again of each key that there is or was."""
    await signing_keys.lock(connection)
    for key in await signing_keys.every(connection):
        await _announce(connection, key, now)


async def _announce(connection: Connection, key: SigningKey, now: datetime) -> None:
    envelope = Envelope(
        id=new_id("evt"),
        type=key.wire_type,
        source=SOURCE,
        data=key.model_dump_json().encode(),
        key=key.kid,
        subject=key.kid,
        time=now,
    )
    await put(connection, [OutboxMessage(ACCESS_GRANTS, envelope)])
