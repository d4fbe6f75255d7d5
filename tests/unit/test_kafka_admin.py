"""The administrator of Kafka, without one."""

import asyncio
from concurrent.futures import Future

import pytest

from shared import kafka_admin
from shared.settings import KafkaSettings


class _Client:
    """Librdkafka's, whose answers we give ourselves."""

    def __init__(self) -> None:
        self.deleted: Future[None] = Future()

    def delete_topics(self, names: list[str], **limits: float) -> dict[str, Future[None]]:
        return dict.fromkeys(names, self.deleted)


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancellation_is_not_lost_in_the_moment_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    """`asyncio.wait_for` returns the answer then, before Python 3.12; who ends a service would wait for it for ever."""
    client = _Client()
    monkeypatch.setattr(kafka_admin, "AdminClient", lambda settings: client)
    admin = kafka_admin.KafkaAdmin(KafkaSettings(bootstrap_servers="unused"))

    async def use() -> None:
        await admin.delete_topics(["a"])
        await asyncio.Event().wait()

    using = asyncio.create_task(use())
    await asyncio.sleep(0.01)
    client.deleted.set_result(None)
    for _ in range(turns):
        await asyncio.sleep(0)
    using.cancel()
    await asyncio.sleep(0.01)
    assert using.cancelled()
