"""The life of an API key: made, rotated, revoked. Each step is saved with its grants and its entry in the audit log."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from services.apps import grants
from services.apps.audit import By, changes_between, note
from services.apps.core.keys import ApiKey, Secret, grant_of, rotated
from services.apps.store import api_keys
from shared.auth.keys import hash_credential, new_api_key, shown_prefix
from shared.clock import Clock
from shared.contracts.access import SCOPES
from shared.contracts.model import Actor
from shared.immutable import replace
from shared.postgres import Connection, Pool, transaction

_INSTALLATION = Actor(type="system", id="installation")


async def create(connection: Connection, by: By, key: ApiKey) -> tuple[ApiKey, str]:
    """The key with its first secret, which nobody can be told again. Its merchant is held active by the caller."""
    text = new_api_key(key.environment)
    secret = Secret(hash_credential(text), key.api_key_id, by.at)
    made = replace(key, prefix=shown_prefix(text))
    await api_keys.insert(connection, made, secret)
    await grants.publish(connection, [grant_of(made, secret, merchant_active=True)])
    fields = {"name": key.name, "scopes": list(key.scopes), "allowed_origins": list(key.allowed_origins)}
    await _note(connection, by, "created", key, {**fields, "expires_at": key.expires_at})
    return made, text


async def rotate(connection: Connection, by: By, key: ApiKey, overlap: timedelta) -> tuple[ApiKey, str]:
    """The locked key with a further secret; the ones before it end after the overlap, or when they would have."""
    text = new_api_key(key.environment)
    ends_at = by.at + overlap
    living = await api_keys.living_secrets(connection, [key.api_key_id], by.at)
    ended = [rotated(secret, ends_at) for secret in living]
    fresh = Secret(hash_credential(text), key.api_key_id, by.at)
    after = replace(key, prefix=shown_prefix(text), overlap_ends_at=ends_at)
    await api_keys.rotate(connection, after, ended)
    await api_keys.insert_secret(connection, fresh)
    await grants.publish(connection, [grant_of(after, secret, merchant_active=True) for secret in (*ended, fresh)])
    await _note(connection, by, "rotated", key, {"overlap_ends_at": ends_at})
    return after, text


async def revoke(connection: Connection, by: By, key: ApiKey) -> ApiKey:
    """The locked key holds no more, under any of its secrets; a repeat changes nothing."""
    if key.revoked_at is not None:
        return key
    after = replace(key, revoked_at=by.at)
    await api_keys.revoke(connection, key.api_key_id, by.at)
    await announce(connection, [after], by.at, merchant_active=True)
    await _note(connection, by, "revoked", key, {"revoked_at": by.at})
    return after


async def announce(connection: Connection, keys: Sequence[ApiKey], now: datetime, *, merchant_active: bool) -> None:
    """Every service is told what the locked keys are worth now."""
    known = {key.api_key_id: key for key in keys}
    secrets = await api_keys.living_secrets(connection, list(known), now)
    told = [grant_of(known[secret.api_key_id], secret, merchant_active=merchant_active) for secret in secrets]
    await grants.publish(connection, told)


async def announce_all(connection: Connection, held: Sequence[ApiKey], inactive: Collection[str]) -> None:
    """Every service is told again what these keys are worth under every secret that they ever had.

    They and their merchants are held by the caller; `inactive` are those of the merchants that are not active.
    """
    known = {key.api_key_id: key for key in held}
    told = [
        grant_of(key, secret, merchant_active=key.merchant_id not in inactive)
        for secret in await api_keys.secrets(connection, list(known))
        for key in (known[secret.api_key_id],)
    ]
    await grants.publish(connection, told)


class AdmitPlatformKey:
    """The platform key whose hash this installation's settings name is admitted once.

    From then on it is a key like others: one that was rotated or revoked does not come back with the next start.
    """

    def __init__(self, pool: Pool, clock: Clock, committed: Callable[[], None], credential_hash: str) -> None:
        self._pool, self._clock, self._committed = pool, clock, committed
        self._credential_hash = credential_hash

    async def __call__(self) -> None:
        now = self._clock()
        # The same id in every process that starts with this setting, and nothing that the hash could be known by.
        api_key_id = "key_" + sha256(f"platform key {self._credential_hash}".encode()).hexdigest()[:26]
        key = ApiKey(api_key_id, "platform", None, "live", "Platform", SCOPES, (), None, now)
        secret = Secret(self._credential_hash, api_key_id, now)
        async with transaction(self._pool) as connection:
            known = await api_keys.knows(connection, self._credential_hash)
            if known or not await api_keys.insert(connection, key, secret):
                return
            await grants.publish(connection, [grant_of(key, secret, merchant_active=True)])
            await _note(connection, By(_INSTALLATION, now), "created", key, {"name": key.name})
        self._committed()


async def _note(connection: Connection, by: By, done: str, key: ApiKey, fields: dict[str, object]) -> None:
    changes = changes_between({}, fields)
    entry = by.did(
        f"api_key.{done}", key.api_key_id, merchant_id=key.merchant_id, environment=key.environment, changes=changes
    )
    await note(connection, entry)
