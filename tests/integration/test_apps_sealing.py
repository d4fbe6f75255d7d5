"""A sealing key is put in front of another, and the other one goes."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr

from services.apps import sealing
from services.apps.sealing import FOUND, SealAgainJob
from services.apps.signing_keys import KEY_SIGNS_FOR, TokenSigner
from services.apps.store import endpoints, sealed
from services.apps.store.sealed import PLACES
from services.apps.webhook_signing import WebhookSigner
from shared.clock import utc_now
from shared.postgres import Pool, transaction
from shared.sealing import Sealer, SealingError, new_sealing_key
from tests.integration.webhooks import World, world
from tests.servers import Servers

pytestmark = pytest.mark.servers

OLD, NEW = new_sealing_key(), new_sealing_key()


def sealer(*keys: str) -> Sealer:
    return Sealer(SecretStr(",".join(keys)))


async def secrets(pool: Pool) -> list[bytes]:
    return [one for place in PLACES for _, one in await sealed.some(pool, place, "", 100)]


def found(key: str) -> float:
    return FOUND.labels(key)._value.get()


async def filled(here: World) -> None:
    """Two signing keys, and endpoints with and without a secret that is being replaced."""
    early = TokenSigner(here.pool, sealer(OLD), utc_now, lambda: None)
    late = TokenSigner(here.pool, sealer(OLD), lambda: utc_now() + KEY_SIGNS_FOR, lambda: None)
    await early.keep()
    await late.keep()
    for number in range(5):
        previous = sealer(OLD).seal(b"whsec_b2xk") if number % 2 else None
        await here.endpoint("https://hooks.example.com", sealed_previous_secret=previous)
        await here.endpoint("https://hooks.example.com", sealed_secret=sealer(OLD).seal(b"whsec_bmV3"))


async def test_what_an_older_key_sealed_is_sealed_with_the_newest(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "_AT_ONCE", 2)
    async with world(servers.database_url) as here:
        here.signer = WebhookSigner(sealer(OLD))
        await filled(here)
        before = [sealer(OLD).open(one) for one in await secrets(here.pool)]
        assert len(before) == 14
        job = SealAgainJob(here.pool, sealer(NEW, OLD))
        await job()
        assert (found("older"), found("unknown")) == (14, 0)
        assert [sealer(NEW).open(one) for one in await secrets(here.pool)] == before
        await job()
        assert (found("older"), found("unknown")) == (0, 0), "the older key can go"
        signer = TokenSigner(here.pool, sealer(NEW), utc_now, lambda: None)
        await signer.ready()
        assert signer.sign({"iss": "us"})
        lost = await here.endpoint("https://hooks.example.com", sealed_secret=sealer(new_sealing_key()).seal(b"x"))
        await job()
        assert (found("older"), found("unknown")) == (0, 1)
        assert await here.read(lost) == lost


async def test_a_secret_that_was_replaced_meanwhile_stays(servers: Servers) -> None:
    async with world(servers.database_url) as here:
        endpoint = await here.endpoint("https://hooks.example.com", sealed_secret=b"new")
        async with transaction(here.pool) as connection:
            await sealed.put(connection, PLACES[1], [(endpoint.endpoint_id, b"old", b"sealed again")])
            assert (await here.read(endpoint)).sealed_secret == b"new"
            await sealed.put(connection, PLACES[1], [(endpoint.endpoint_id, b"new", b"sealed again")])
        assert await here.read(endpoint) == replace(endpoint, sealed_secret=b"sealed again")
        async with transaction(here.pool) as connection:
            rotated = replace(
                endpoint, sealed_previous_secret=b"old", previous_secret_ends_at=here.now() + timedelta(1)
            )
            await endpoints.save(connection, rotated)
            await sealed.put(connection, PLACES[2], [(endpoint.endpoint_id, b"old", b"sealed too")])
        assert (await here.read(endpoint)).sealed_previous_secret == b"sealed too"


async def test_with_one_key_nothing_is_looked_at() -> None:
    await SealAgainJob(Pool("postgresql://nowhere.invalid/", "apps", 1), sealer(NEW))()


def test_what_the_newest_key_sealed_stays() -> None:
    old, both = sealer(OLD), sealer(NEW, OLD)
    assert (old.has_older, both.has_older, sealer("").has_older) == (False, True, False)
    again = both.again(old.seal(b"x"))
    assert again is not None
    assert sealer(NEW).open(again) == b"x"
    assert both.again(again) is None
    with pytest.raises(SealingError):
        both.again(sealer(new_sealing_key()).seal(b"x"))
