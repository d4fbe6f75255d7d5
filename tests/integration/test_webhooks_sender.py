"""What reaches webhook endpoints, in which order, how often, and what keeps it from there."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from standardwebhooks import WebhookVerificationError

from services.apps import webhook_sender
from services.apps.core.webhooks import WAITS, Attempt, Fate
from services.apps.store import deliveries, endpoints, events, sending
from services.apps.store.endpoints import Endpoint, Owner
from services.apps.store.sending import Outcome, Room
from services.apps.webhook_flow import Width
from services.apps.webhook_jobs import EndWebhooksJob, ForgetWebhooksJob
from services.apps.webhook_sender import _CLAIM
from services.apps.webhook_signing import WebhookSigner, new_secret
from services.apps.webhooks import replay
from shared.outbound import Limits
from shared.postgres import Connection, transaction
from shared.sealing import Sealer, new_sealing_key
from tests.integration.webhooks import World, world
from tests.receiver import Received, Receiver, answer, receiving
from tests.servers import Servers

pytestmark = pytest.mark.servers


@pytest.fixture
async def here(servers: Servers) -> AsyncIterator[World]:
    async with world(servers.database_url) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def ids(received: list[Received]) -> list[str]:
    return [one.headers["webhook-id"] for one in received]


async def test_an_event_arrives_signed_as_the_standard_says(here: World, receiver: Receiver) -> None:
    secret = new_secret()
    endpoint = await here.endpoint(receiver.url(), secret)
    event = here.event("ord_1", "order.paid", customer=b'{"name":"Ada"}')
    async with here.sending():
        await here.happens(event)
        [one] = await receiver.wait(1)
        [delivery] = await here.settled(endpoint, 1)
    told = one.verified(secret)
    assert one.body == event.body(endpoint.scopes)
    assert (told["event_id"], told["type"], told["data"]["order"]) == (
        event.event_id,
        "order.paid",
        {"order_id": "ord_1", "number": "1"},
    )
    assert one.headers["webhook-id"] == event.event_id
    assert one.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        one.verified(new_secret())
    with pytest.raises(WebhookVerificationError):
        replace(one, body=one.body + b" ").verified(secret)
    assert (delivery.status, delivery.attempts, delivery.last_status_code) == ("delivered", 1, 200)
    [attempt] = await here.attempts(delivery)
    assert (attempt.attempt, attempt.status_code, attempt.error, attempt.response) == (1, 200, None, "ok")


async def test_only_what_an_endpoint_asks_for_and_may_know_is_sent_to_it(here: World, receiver: Receiver) -> None:
    async def at(path: str, *types: str, **changes: object) -> Endpoint:
        return await here.endpoint(receiver.url(path), event_types=types, **changes)

    await at("/all", "*")
    await at("/paid", "order.paid")
    await at("/orders", "order.*", scopes=("orders.write", "customers.read"))
    await at("/blind", "*", scopes=("payments.read", "webhooks.write"))
    await at("/off", "*", status="disabled")
    await at("/other", "*", merchant_id="mer_other")
    await at("/live", "*", environment="live")
    await at("/revoked", "*", grant_id="grt_unknown")
    app = await here.grant(("orders.read",))
    await at("/app", "*", grant_id=app, scopes=("orders.read", "customers.read"))
    customer = b'{"name":"Ada"}'
    async with here.sending():
        await here.happens(here.event("ord_1", "order.paid", customer), here.event("ord_2", "order.created", customer))
        await receiver.wait(7)
        await asyncio.sleep(0.3)
    assert Counter(one.path for one in receiver.received) == {"/all": 2, "/paid": 1, "/orders": 2, "/app": 2}
    knows = {one.path for one in receiver.received if "customer" in one.json()["data"]["order"]}
    assert knows == {"/orders"}


async def test_while_a_secret_is_replaced_both_sign(here: World, receiver: Receiver) -> None:
    old, new = new_secret(), new_secret()
    endpoint = await here.endpoint(
        receiver.url(),
        new,
        sealed_previous_secret=here.signer.seal(old),
        previous_secret_ends_at=here.now() + timedelta(minutes=1),
    )
    async with here.sending():
        await here.happens(here.event("ord_1"))
        await here.settled(endpoint, 1)
        here.later(timedelta(minutes=2))
        await here.happens(here.event("ord_1"))
        await here.settled(endpoint, 2)
    during, after = receiver.received
    assert during.verified(old) == during.verified(new)
    assert len(during.headers["webhook-signature"].split(" ")) == 2
    after.verified(new)
    with pytest.raises(WebhookVerificationError):
        after.verified(old)


async def test_one_order_fails_and_keeps_its_order_and_the_others_go_on(here: World, receiver: Receiver) -> None:
    failures = 2

    async def answering(one: Received) -> bytes:
        nonlocal failures
        if one.json()["order_id"] == "ord_a" and failures:
            failures -= 1
            return answer(500, b"not now")
        return answer()

    receiver.answering = answering
    endpoint = await here.endpoint(receiver.url())
    async with here.sending():
        bad = await here.happens(*(here.event("ord_a") for _ in range(4)))
        good = await here.happens(*(here.event("ord_b") for _ in range(4)))
        await receiver.wait(5)
        await here.tried(endpoint, 5)
        assert ids(receiver.received)[0] == bad[0]
        assert [one for one in ids(receiver.received) if one in good] == good
        assert [one.status for one in await here.deliveries(endpoint)].count("pending") == 4
        here.later(WAITS[0] * 0.5)
        more = await here.happens(here.event("ord_a"))
        await asyncio.sleep(0.7)
        assert len(receiver.received) == 5  # nothing overtakes, and nothing is early
        here.later(WAITS[0] * 0.7)
        await receiver.wait(6)
        await here.tried(endpoint, 6)
        here.later(WAITS[1] * 1.2)
        done = await here.settled(endpoint, 9)
    tries = [one for one in ids(receiver.received) if one not in good]
    assert tries == [bad[0], bad[0], *bad, *more]
    assert [one.attempts for one in done if one.order_id == "ord_a"] == [3, 1, 1, 1, 1]
    assert [(one.status_code, one.error, one.response) for one in await here.attempts(done[0])] == [
        (500, "refused", "not now"),
        (500, "refused", "not now"),
        (200, None, "ok"),
    ]


async def test_a_dead_endpoint_does_not_delay_lively_ones(here: World, receiver: Receiver) -> None:
    async def hang(_: Received) -> bytes:
        await asyncio.sleep(3600)
        return b""

    async with receiving(hang) as dead, here.sending(Width(at_once=24, to_one_endpoint=8), Limits(total_s=60)):
        for _ in range(6):
            await here.endpoint(dead.url())
        lively = [await here.endpoint(receiver.url(f"/{number}")) for number in range(5)]
        await here.happens(*(here.event(f"ord_{number}") for number in range(100)))
        await receiver.wait(500, within_s=60)
        for endpoint in lively:
            await here.settled(endpoint, 100)
        assert dead.most_under_way == 12


async def test_a_dead_endpoint_is_asked_rarely_and_not_once_for_each_event(here: World, receiver: Receiver) -> None:
    async def broken(_: Received) -> bytes:
        return answer(500)

    receiver.answering = broken
    endpoint = await here.endpoint(receiver.url())
    async with here.sending(Width(to_one_endpoint=4)):
        await here.happens(*(here.event(f"ord_{number}") for number in range(300)))
        await receiver.wait(5)
        await asyncio.sleep(1.5)
        assert 5 <= len(receiver.received) <= 12
        receiver.answering = None
        here.later(timedelta(minutes=6))
        async with asyncio.timeout(60):
            while [one.status for one in await here.deliveries(endpoint)].count("delivered") < 300:
                here.later(timedelta(minutes=6))
                await asyncio.sleep(0.3)
    assert (await here.read(endpoint)).failing_since is None


async def test_a_slow_endpoint_has_so_many_requests_and_no_more(here: World, receiver: Receiver) -> None:
    held: list[asyncio.Event] = []
    wanted = 2

    async def slow(_: Received) -> bytes:
        # One at a time is answered, and each answer lets one more be under way, until there are five.
        nonlocal wanted
        if receiver.most_under_way < 5:
            held.append(asyncio.Event())
            mine = held[-1]
            if receiver.under_way == wanted:
                wanted += 1
                held.pop(0).set()
            await mine.wait()
        else:
            for other in held:
                other.set()
        return answer()

    receiver.answering = slow
    endpoint = await here.endpoint(receiver.url())
    async with here.sending(Width(to_one_endpoint=5)):
        await here.happens(*(here.event(f"ord_{number}") for number in range(80)))
        await here.settled(endpoint, 80)
    assert receiver.most_under_way == 5


async def test_410_disables_the_endpoint_and_cancels_what_waits(here: World, receiver: Receiver) -> None:
    async def gone(_: Received) -> bytes:
        return answer(410)

    receiver.answering = gone
    endpoint = await here.endpoint(receiver.url())
    async with here.sending(Width(to_one_endpoint=1)):
        await here.happens(*(here.event(f"ord_{number}") for number in range(5)))
        await here.tried(endpoint, 1)
        await EndWebhooksJob(here.pool, here.now)()
        done = await here.settled(endpoint, 5)
    assert len(receiver.received) == 1
    assert Counter(one.status for one in done) == {"failed": 1, "canceled": 4}
    found = await here.read(endpoint)
    assert (found.status, found.disabled_reason) == ("disabled", "gone")
    entries = await here.pool.fetch("SELECT action, target_id, actor_type FROM audit_log")
    assert [tuple(entry) for entry in entries] == [("webhook_endpoint.disabled", endpoint.endpoint_id, "system")]
    await here.happens(here.event("ord_9"))
    assert len(await here.deliveries(endpoint)) == 5


async def test_what_the_receiver_asks_for_is_waited_for_but_not_for_ever(here: World, receiver: Receiver) -> None:
    asked = "900"

    async def busy(_: Received) -> bytes:
        return answer(503, Retry_After=asked)

    receiver.answering = busy
    endpoint = await here.endpoint(receiver.url())
    async with here.sending():
        await here.happens(here.event("ord_1"))
        [one] = await here.tried(endpoint, 1)
        assert timedelta(seconds=890) < one.due_at - here.now() <= timedelta(seconds=900)
        await here.happens(here.event("ord_2"))  # it was meant for all requests
        await asyncio.sleep(0.7)
        assert len(receiver.received) == 1
        asked = "99999999999"
        here.later(timedelta(seconds=901))
        found = await here.tried(endpoint, 2)
        longest = max(one.due_at - here.now() for one in found)
        assert timedelta(minutes=59) < longest <= timedelta(hours=1)


async def test_after_the_last_attempt_it_has_failed_and_the_next_of_its_order_has_its_turn(
    here: World, receiver: Receiver
) -> None:
    async def broken(one: Received) -> bytes:
        return answer(500 if one.json()["type"] == "order.paid" else 200)

    receiver.answering = broken
    endpoint = await here.endpoint(receiver.url())
    async with here.sending():
        await here.happens(here.event("ord_1", "order.paid"), here.event("ord_1"))
        for tries, wait in enumerate(WAITS, 1):
            await here.tried(endpoint, tries)
            await here.happens(here.event(f"ord_lively_{tries}"))  # or else it would be disabled
            await here.tried(endpoint, tries * 2)
            here.later(wait * 1.11)
        done = await here.settled(endpoint, 11)
    assert (done[0].status, done[0].attempts, done[0].last_error) == ("failed", 10, "refused")
    assert (done[1].status, done[1].attempts) == ("delivered", 1)


async def test_nothing_succeeded_for_three_days_and_the_endpoint_is_disabled(here: World) -> None:
    async with receiving() as gone:
        url = gone.url()
    endpoint = await here.endpoint(url)
    async with here.sending():
        await here.happens(here.event("ord_1"))
        for tries, wait in enumerate(WAITS, 1):
            [one] = await here.tried(endpoint, tries)
            assert (await here.read(endpoint)).status == "active"
            here.later(wait * 1.11)
        [one] = await here.settled(endpoint, 1)
    assert (one.status, one.last_error) == ("failed", "connect")
    found = await here.read(endpoint)
    assert (found.status, found.disabled_reason) == ("disabled", "failing")


async def test_a_redirect_is_a_failure_and_leads_nowhere(here: World, receiver: Receiver) -> None:
    async with receiving() as inside:

        async def redirect(_: Received) -> bytes:
            return answer(307, b"", Location=inside.url())

        receiver.answering = redirect
        endpoint = await here.endpoint(receiver.url())
        async with here.sending():
            await here.happens(here.event("ord_1"))
            [one] = await here.tried(endpoint, 1)
        assert (one.status, one.last_status_code, one.last_error) == ("pending", 307, "redirected")
        assert inside.connections == 0


async def test_an_address_that_must_not_be_connected_to_is_a_failure_like_others(here: World) -> None:
    endpoint = await here.endpoint("http://169.254.169.254/latest/meta-data")
    async with here.sending():
        await here.happens(here.event("ord_1"))
        [one] = await here.tried(endpoint, 1)
    assert (one.status, one.last_status_code, one.last_error) == ("pending", None, "address_refused")


async def test_of_an_answer_only_the_beginning_is_kept_whatever_it_is(here: World, receiver: Receiver) -> None:
    async def odd(_: Received) -> bytes:
        return answer(200, b"\x00\xff" * 5_000_000)

    receiver.answering = odd
    endpoint = await here.endpoint(receiver.url())
    async with here.sending():
        await here.happens(here.event("ord_1"))
        [one] = await here.settled(endpoint, 1)
    [attempt] = await here.attempts(one)
    assert attempt.response == "\ufffd" * 1_000


async def test_what_a_sender_left_behind_goes_on_in_another_when_its_claim_has_ended(
    here: World, receiver: Receiver
) -> None:
    endpoint = await here.endpoint(receiver.url())
    [event_id] = await here.happens(here.event("ord_1"))
    async with transaction(here.pool) as connection:
        [claimed] = await sending.claim(connection, Room(10, 10, {}), here.now(), _CLAIM)
    assert claimed.event_id == event_id
    async with here.sending():
        await asyncio.sleep(0.7)
        assert receiver.received == []
        here.later(_CLAIM)
        await here.settled(endpoint, 1)
    assert ids(receiver.received) == [event_id]


async def test_a_claim_lasts_for_as_long_as_its_request(here: World, receiver: Receiver) -> None:
    may_end = asyncio.Event()

    async def answering(_: Received) -> bytes:
        await may_end.wait()
        return answer(500)

    receiver.answering = answering
    endpoint = await here.endpoint(receiver.url())
    await here.happens(here.event("ord_1"))

    async def claimed_until() -> datetime:
        found: datetime = await here.pool.fetchval("SELECT claimed_until FROM webhook_deliveries")
        return found

    async with here.sending(limits=Limits(total_s=60)):
        await receiver.wait(1)
        async with here.sending():
            for _ in range(3):
                here.later(0.8 * _CLAIM)
                async with asyncio.timeout(10):
                    while await claimed_until() < here.now() + 0.8 * _CLAIM:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
            assert len(receiver.received) == 1
            may_end.set()
            [delivery] = await here.tried(endpoint, 1)
    assert (delivery.status, delivery.last_status_code) == ("pending", 500)


async def test_of_two_outcomes_of_one_delivery_counts_that_it_was_received(here: World, receiver: Receiver) -> None:
    endpoint = await here.endpoint(receiver.url())
    await here.happens(here.event("ord_1"))
    async with transaction(here.pool) as connection:
        [first] = await sending.claim(connection, Room(10, 10, {}), here.now(), _CLAIM)
    async with transaction(here.pool) as connection:
        [second] = await sending.claim(connection, Room(10, 10, {}), here.now() + _CLAIM, _CLAIM)
        received, failed = Attempt(here.now(), 10, 200, None), Attempt(here.now(), 10, 500, "refused")
        outcomes = [
            Outcome(first, received, Fate("delivered", here.now())),
            Outcome(second, failed, Fate("pending", here.now())),
        ]
        await sending.settle(connection, outcomes)
    [delivery] = await here.deliveries(endpoint)
    assert (delivery.status, delivery.attempts) == ("delivered", 1)


async def test_a_sender_that_stops_lets_requests_end_and_gives_back_what_does_not(
    here: World, receiver: Receiver
) -> None:
    async def answering(one: Received) -> bytes:
        await asyncio.sleep(3600 if one.json()["order_id"] == "ord_slow" else 0.3)
        return answer()

    receiver.answering = answering
    endpoint = await here.endpoint(receiver.url())
    async with here.sending(limits=Limits(total_s=60)):
        await here.happens(here.event("ord_slow"), here.event("ord_quick"))
        await receiver.wait(2)
    assert [one.status for one in await here.deliveries(endpoint)] == ["pending", "delivered"]
    receiver.answering = None
    async with here.sending():
        began = time.monotonic()
        await here.settled(endpoint, 2)
        assert time.monotonic() - began < 10


async def test_two_senders_share_the_work_and_never_send_one_delivery_at_once(here: World, receiver: Receiver) -> None:
    at_work: Counter[tuple[str, str]] = Counter()
    worst = 0

    async def answering(one: Received) -> bytes:
        nonlocal worst
        delivery = (one.path, one.headers["webhook-id"])
        at_work[delivery] += 1
        worst = max(worst, at_work[delivery])
        await asyncio.sleep(0.01)
        at_work[delivery] -= 1
        return answer()

    receiver.answering = answering
    made = [await here.endpoint(receiver.url(f"/{number}")) for number in range(4)]
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(here.sending(Width(to_one_endpoint=5)))
        happened = [(await here.happens(*(here.event(f"ord_{order}") for order in range(20)))) for _ in range(5)]
        for endpoint in made:
            await here.settled(endpoint, 100, within_s=60)
    assert worst == 1
    for endpoint, path in zip(made, ("/0", "/1", "/2", "/3"), strict=True):
        got = receiver.at(path)
        assert len(got) == len(set(ids(got))) == 100, endpoint
        for order in range(20):
            in_order = [batch[order] for batch in happened]
            assert [one for one in ids(got) if one in in_order] == in_order


async def test_nothing_is_sent_to_an_app_that_is_no_longer_installed(here: World, receiver: Receiver) -> None:
    grant_id = await here.grant()
    endpoint = await here.endpoint(receiver.url(), grant_id=grant_id)

    async def slow(_: Received) -> bytes:
        await asyncio.sleep(0.1)
        return answer()

    receiver.answering = slow
    async with here.sending(Width(to_one_endpoint=2)):
        await here.happens(*(here.event(f"ord_{number}") for number in range(200)))
        await receiver.wait(5)
        await here.pool.execute("UPDATE environment_grants SET status = 'revoked' WHERE grant_id = $1", grant_id)
        await asyncio.sleep(0.5)
        seen = len(receiver.received)
        await here.happens(here.event("ord_more"))
        await asyncio.sleep(1)
        assert len(receiver.received) == seen < 100
        await EndWebhooksJob(here.pool, here.now)()
    found = await here.read(endpoint)
    assert (found.status, found.disabled_reason) == ("disabled", "revoked")
    assert {one.status for one in await here.deliveries(endpoint)} == {"delivered", "canceled"}


async def test_what_waits_says_no_more_than_may_be_read_when_it_is_sent(here: World, receiver: Receiver) -> None:
    """A merchant takes a scope from the app while events wait: judged is what it may read now, at every attempt."""
    grant_id = await here.grant(("orders.read", "customers.read"))
    endpoint = await here.endpoint(receiver.url(), grant_id=grant_id)
    own = await here.endpoint(receiver.url("/own"), scopes=("orders.read", "customers.read"))
    knew: list[bool] = []

    async def refuse(one: Received) -> bytes:
        if one.path == "/hook":
            knew.append("customer" in one.json()["data"]["order"])
        return answer(500 if one.path == "/hook" and len(knew) < 2 else 200)

    async def may(*scopes: str) -> None:
        await here.pool.execute("UPDATE environment_grants SET scopes = $1", list(scopes))

    receiver.answering = refuse
    await here.happens(here.event("ord_1", customer=b'{"name":"Ada"}'))
    async with here.sending():
        await receiver.wait(1, "/hook")
        await here.tried(endpoint, 1)
        await may("orders.read")
        here.later(timedelta(seconds=6))
        await here.settled(endpoint, 1)
        assert knew == [True, False]
        await may("payments.read")
        await here.settled(own, 1)
        receiver.received.clear()
        async with transaction(here.pool) as connection:
            await deliveries.resend(
                connection,
                Owner(endpoint.merchant_id, "test", grant_id),
                (await here.deliveries(endpoint))[0].delivery_id,
                here.now(),
            )
        here.wake()
        found = await here.tried(endpoint, 3)
    assert [(one.status, one.last_error) for one in found] == [("failed", "withheld")]
    assert receiver.received == []
    assert (await here.read(endpoint)).failing_since is None


async def test_while_a_merchant_is_suspended_nothing_is_sent(here: World, receiver: Receiver) -> None:
    await here.pool.execute(
        "INSERT INTO merchants VALUES ($1, 1, 'A', 'active', NULL, NULL, NULL, '{}', now(), now())",
        here.owner.merchant_id,
    )

    async def becomes(status: str) -> None:
        await here.pool.execute("UPDATE merchants SET status = $1", status)

    endpoint = await here.endpoint(receiver.url())
    [waiting] = await here.happens(here.event("ord_1"))
    await becomes("suspended")
    await here.happens(here.event("ord_2"))
    async with here.sending():
        await asyncio.sleep(0.7)
        assert receiver.received == []
        await becomes("active")
        here.wake()
        await here.settled(endpoint, 1)
        assert ids(receiver.received) == [waiting]
        await becomes("closed")
        await EndWebhooksJob(here.pool, here.now)()
    found = await here.read(endpoint)
    assert (found.status, found.disabled_reason) == ("disabled", "revoked")


async def test_the_commit_wakes_the_sender(here: World, receiver: Receiver) -> None:
    await here.endpoint(receiver.url())
    waits = []
    async with here.sending():
        for number in range(10):
            await asyncio.sleep(0.05)
            began = asyncio.get_running_loop().time()
            await here.happens(here.event(f"ord_{number}"))
            [*_, last] = await receiver.wait(number + 1)
            waits.append(last.at - began)
    assert sorted(waits)[5] < 0.25, waits


async def test_a_delivery_is_sent_again_with_the_same_id(here: World, receiver: Receiver) -> None:
    endpoint = await here.endpoint(receiver.url())
    owner = here.owner
    async with here.sending():
        [event_id] = await here.happens(here.event("ord_1"))
        [one] = await here.settled(endpoint, 1)
        async with transaction(here.pool) as connection:
            assert (
                await deliveries.resend(connection, replace(owner, merchant_id="mer_x"), one.delivery_id, here.now())
                is None
            )
            again = await deliveries.resend(connection, owner, one.delivery_id, here.now())
        assert again is not None
        assert (again.status, again.attempts) == ("pending", 1)
        here.wake()
        [one] = await here.settled(endpoint, 1)
    assert ids(receiver.received) == [event_id, event_id]
    assert (one.status, one.attempts, len(await here.attempts(one))) == ("delivered", 2, 2)


async def test_a_window_of_events_is_sent_again(here: World, receiver: Receiver) -> None:
    late = await here.endpoint(receiver.url("/late"), event_types=("order.paid",), status="disabled")
    before = await here.happens(here.event("ord_0", "order.paid"))
    await asyncio.sleep(0.01)
    began = here.now()
    await asyncio.sleep(0.01)
    missed = await here.happens(
        here.event("ord_1", "order.paid"), here.event("ord_1"), here.event("ord_2", "order.paid")
    )
    await asyncio.sleep(0.01)
    window = (began, here.now())
    async with transaction(here.pool) as connection:
        await endpoints.save(connection, replace(late, status="active"))
        assert await replay(connection, late, window, 0, here.now()) == (2, None)
    async with here.sending():
        await here.settled(late, 2)
    assert ids(receiver.received) == [missed[0], missed[2]]
    assert before[0] not in ids(receiver.received)


async def test_deliveries_and_attempts_are_forgotten_after_thirty_days(here: World, receiver: Receiver) -> None:
    endpoint = await here.endpoint(receiver.url())
    async with here.sending():
        await here.happens(here.event("ord_1"))
        await here.settled(endpoint, 1)
    await ForgetWebhooksJob(here.pool, lambda: here.now() + timedelta(days=29))()
    assert len(await here.deliveries(endpoint)) == 1
    await ForgetWebhooksJob(here.pool, lambda: here.now() + timedelta(days=31))()
    assert await here.deliveries(endpoint) == []
    assert await here.pool.fetchval("SELECT count(*) FROM webhook_attempts") == 0


async def test_an_event_that_is_no_longer_kept_is_not_sent(here: World, receiver: Receiver) -> None:
    endpoint = await here.endpoint(receiver.url())
    [event_id] = await here.happens(here.event("ord_1"))
    await here.pool.execute("DELETE FROM events WHERE event_id = $1", event_id)
    async with here.sending():
        [one] = await here.settled(endpoint, 1)
    assert (one.status, one.last_error, receiver.received) == ("failed", "expired", [])
    assert (await here.read(endpoint)).failing_since is None


async def test_of_large_events_few_are_read_and_held_at_once(
    here: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b'{"name":"%b"}' % (b"A" * 10_000)
    monkeypatch.setattr(events, "_LARGEST_PAGE_BYTES", 15_000)
    monkeypatch.setattr(webhook_sender, "_MOST_BYTES", 35_000)
    read: list[int] = []
    several = events.several

    async def counted(connection: Connection, wanted: Sequence[str]) -> Any:
        found = await several(connection, wanted)
        read.append(len(found[0]))
        return found

    async def hold(_: Received) -> bytes:
        await asyncio.sleep(0.05)
        return answer()

    monkeypatch.setattr(events, "several", counted)
    receiver.answering = hold
    scopes = ("orders.read", "customers.read")
    made = [await here.endpoint(receiver.url(f"/{number}"), scopes=scopes) for number in range(4)]
    happened = [
        event_id for number in range(6) for event_id in await here.happens(here.event(f"ord_{number}", customer=large))
    ]
    async with here.sending():
        for endpoint in made:
            done = await here.settled(endpoint, 6)
            assert {one.status for one in done} == {"delivered"}
    assert Counter(ids(receiver.received)) == dict.fromkeys(happened, 4)
    assert max(read) == 2
    assert receiver.most_under_way <= 11, "what is held, and what four endpoints are sent of the two that are read then"


async def test_a_secret_that_cannot_be_opened_is_an_outcome_and_tried_again(here: World, receiver: Receiver) -> None:
    secret, lost = new_secret(), WebhookSigner(Sealer(SecretStr(new_sealing_key())))
    endpoint = await here.endpoint(receiver.url(), sealed_secret=lost.seal(secret))
    replaced = await here.endpoint(
        receiver.url("/replaced"),
        secret,
        sealed_previous_secret=lost.seal(new_secret()),
        previous_secret_ends_at=here.now() + timedelta(days=1),
    )
    async with here.sending():
        await here.happens(here.event("ord_1"))
        [waits] = await here.tried(endpoint, 1, within_s=5)
        await here.settled(replaced, 1)
        assert (waits.status, waits.last_error, waits.last_status_code) == ("pending", "secret_unreadable", None)
        assert waits.due_at > here.now() + WAITS[0] / 2
        assert (await here.read(endpoint)).failing_since is None, "it is not the receiver's fault"
        here.signer = lost
    async with here.sending():
        here.later(WAITS[0] * 2)
        [done] = await here.settled(endpoint, 1)
    assert (done.status, done.attempts) == ("delivered", 2)
    assert [each.error for each in await here.attempts(done)] == ["secret_unreadable", None]
    for one in receiver.received:
        one.verified(secret)
    assert len(receiver.received) == 2


async def test_many_deliveries_cost_few_statements(here: World, receiver: Receiver) -> None:
    made = [await here.endpoint(receiver.url(f"/{number}")) for number in range(20)]
    await here.happens(*(here.event(f"ord_{number}") for number in range(50)))
    turns = 0

    async with here.sending() as sender:
        turn = sender._turn

        async def counted(outbound: object) -> None:
            nonlocal turns
            turns += 1
            await turn(outbound)  # type: ignore[arg-type]

        sender._turn = counted  # type: ignore[method-assign]
        for endpoint in made:
            await here.settled(endpoint, 50, within_s=60)
    assert turns * 3 / 1_000 < 0.5  # each turn has three statements
