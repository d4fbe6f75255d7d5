"""Merchants as the apps service knows them: they let apps in and take that back, and say where webhooks go.

Each of these is done as by a request, by the service's own functions in one of its processes; there is no HTTP.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from random import Random
from typing import TypeVar

from asyncpg import UniqueViolationError

from services.apps import fan_out, installing, merchants
from services.apps.audit import By
from services.apps.core.merchants import Merchant
from services.apps.store import endpoints, installs
from services.apps.store.endpoints import Endpoint
from services.apps.store.installs import EnvironmentGrant, Install
from services.apps.store.tokens import Code
from services.apps.webhook_signing import WebhookSigner
from shared.contracts.model import Actor
from shared.faults import Transient
from shared.ids import new_id
from shared.postgres import Connection, transaction
from shared.sealing import Sealer
from shared.service import ServiceProcess
from shared.settings import Settings
from tests.simulation.books import Books, Consent, Receiver, Replay
from tests.simulation.nodes import Node
from tests.simulation.receivers import Receivers

T = TypeVar("T")
_READS, _READS_PAYMENTS, _READS_NOT = ("orders.read",), ("orders.read", "payments.read"), ("customers.read",)
_PATIENCE_S = (0.05, 0.3, 1.0)
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_BY = Actor(type="staff", id="usr_simulation")
_SOME = ("order.paid", "order.canceled", "order.payment_captured", "unmatched_money.found")


class Merchants:
    """What they do in one run."""

    def __init__(self, nodes: Sequence[Node], settings: Settings, receivers: Receivers, books: Books) -> None:
        self._nodes = [node for node in nodes if node.service == "apps"]
        self._receivers, self._books = receivers, books
        self._sealed = WebhookSigner(Sealer(settings.sealing_key)).seal(_SECRET)
        self._random = Random(0)

    async def live(self, random: Random, within_s: float) -> None:
        """From before the first order until every decision has been made, within about that time."""
        self._random = random
        for merchant_id in ("mer_one", "mer_two"):
            await self._act(
                lambda connection, by, name=merchant_id: merchants.create(connection, by, _merchant(name, by))
            )
        await self._listen("mer_one", "well", ("*",), scopes=_READS_PAYMENTS)
        await self._listen("mer_one", "dead", ("order.created",))
        await self._listen("mer_one", "slow", ("*",))
        await self._listen("mer_two", random.choice(("moody", "gone")), _SOME)
        await self._let_in("app_blind", "mer_one", _READS_NOT)
        stays = await self._let_in("app_one", "mer_one", random.choice((_READS, _READS_PAYMENTS)))
        goes = await self._let_in("app_two", "mer_two", _READS_PAYMENTS)
        await self._listen("mer_one", "moody", _SOME, stays)
        await self._listen("mer_two", "well", ("*",), goes)
        again = [self._replay(app_id, random.uniform(0.0, 2.0 + within_s)) for app_id in ("app_one", "app_two")]
        narrowed = self._narrow(stays, random.uniform(0.0, 1.0 + within_s)) if stays.reads_payments else None
        async with asyncio.TaskGroup() as besides:
            for each in (*again, narrowed):
                if each is not None:
                    besides.create_task(each)
            await self._come_and_go(random, within_s, goes)

    async def _come_and_go(self, random: Random, within_s: float, goes: Consent) -> None:
        await asyncio.sleep(random.uniform(0.0, 1.0 + within_s))
        if random.random() < 0.5:
            await self._let_in("app_two", "mer_one", _READS_PAYMENTS)
        await self._revoke(goes)
        if random.random() < 0.5:
            await asyncio.sleep(random.uniform(0.0, 1.0))
            await self._let_in("app_two", "mer_two", _READS_PAYMENTS)

    async def _let_in(self, app_id: str, merchant_id: str, scopes: tuple[str, ...] = _READS) -> Consent:
        """The install from its approval to its first token."""
        reads, reads_payments = (scope in scopes for scope in _READS_PAYMENTS)
        consent = Consent(app_id, merchant_id, "", reads, asked_s=_now(), reads_payments=reads_payments)
        self._books.consents.append(consent)

        async def work(connection: Connection, by: By) -> str:
            install = Install(new_id("ins"), app_id, merchant_id, "pending_exchange", by.at, by.at, None)
            held = await installs.live_install(connection, install)
            asked = EnvironmentGrant(
                new_id("grt"), held.install_id, app_id, merchant_id, "test", scopes, scopes, "pending_exchange", _BY.id,
                by.at, by.at, None,
            )  # fmt: skip
            grant = await installs.live_grant(connection, asked)
            code = Code("", app_id, grant.grant_id, "", "", scopes, scopes, _BY.id, "fresh", by.at)
            return (await installing.bring_to_life(connection, by, held, grant, code)).grant_id

        consent.grant_id = await self._act(work)
        consent.granted_s = _now()
        return consent

    async def _revoke(self, consent: Consent) -> None:
        consent.revoke_asked_s = _now()

        async def work(connection: Connection, by: By) -> None:
            held = await installs.lock_by_grant(connection, consent.grant_id)
            assert held is not None
            await installing.revoke(connection, by, *held, [consent.grant_id])

        await self._act(work)
        consent.revoked_s = _now()

    async def _narrow(self, consent: Consent, after_s: float) -> None:
        """The merchant approves less than before: payments are none of the app's business any more."""
        await asyncio.sleep(after_s)
        consent.narrow_asked_s = _now()

        async def work(connection: Connection, by: By) -> None:
            held = await installs.lock_by_grant(connection, consent.grant_id)
            assert held is not None
            install, owned = held
            [grant] = [each for each in owned if each.grant_id == consent.grant_id]
            code = Code("", consent.app_id, grant.grant_id, "", "", _READS, _READS, _BY.id, "fresh", by.at)
            await installing.bring_to_life(connection, by, install, grant, code)

        await self._act(work)
        consent.narrowed_s = _now()

    async def _replay(self, app_id: str, after_s: float) -> None:
        """The app wants everything once more, from the beginning; at most one of its replays runs at a time."""
        await asyncio.sleep(after_s)
        asked_s = _now()

        async def work(connection: Connection, by: By) -> None:
            since = by.at - timedelta(days=1)
            begun = await fan_out.begin_replay(connection, app_id, "test", by.at, created_from=since)
            if begun is not None:
                self._books.replays[begun.replay_id] = Replay(app_id, asked_s)

        await self._act(work)

    async def _listen(
        self,
        merchant_id: str,
        manner: str,
        types: tuple[str, ...],
        consent: Consent | None = None,
        scopes: tuple[str, ...] = _READS,
    ) -> None:
        """An endpoint of the merchant's own, which may be told of so much; or of an app there."""
        endpoint_id = new_id("whe")
        url = f"https://{endpoint_id.lower().replace('_', '-')}.example/"
        patience = self._random.randint(0, 200)
        receiver = Receiver(endpoint_id, url, merchant_id, manner, types, consent, patience)
        receiver.owner_reads_payments = "payments.read" in scopes
        self._books.receivers[url] = self._receivers.by_url[url] = receiver

        async def work(connection: Connection, by: By) -> None:
            endpoint = Endpoint(
                endpoint_id, merchant_id, "test", consent and consent.grant_id, scopes, url, None, types, "active",
                None, self._sealed, None, None, None, 1, by.at, by.at,
            )  # fmt: skip
            await endpoints.insert(connection, endpoint, most=20)

        await self._act(work)
        receiver.since_s = _now()

    async def _act(self, work: Callable[[Connection, By], Awaitable[T]]) -> T:
        """As one request to any of the processes, again until one has answered."""

        async def request(process: ServiceProcess) -> T:
            async with transaction(process.pool) as connection:
                done = await work(connection, By(_BY, process.clock()))
            process.wake()
            return done

        while True:
            try:
                return await self._random.choice(self._nodes).act(request)
            except UniqueViolationError:
                # The first time had its effect; only its answer was lost.
                return None  # type: ignore[return-value]
            except (ConnectionError, Transient):
                await asyncio.sleep(self._random.choice(_PATIENCE_S))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _merchant(merchant_id: str, by: By) -> Merchant:
    return Merchant(
        merchant_id,
        f"env_{merchant_id}_test",
        f"env_{merchant_id}_live",
        merchant_id,
        None,
        None,
        None,
        {},
        by.at,
        by.at,
    )
