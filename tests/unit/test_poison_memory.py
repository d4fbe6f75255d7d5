"""Poisoned batches are gone when they are done, without the collector: it looks for cycles rarely (decision 9)."""

import gc
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from services.orders.consumers import CommandConsumer
from services.payments.consumers import _version_in
from shared.faults import Poison
from shared.kafka.reading import read_each

Consume = Callable[[Sequence[Any]], Any]


async def commands(records: Sequence[Any]) -> list[Poison | None]:
    async def run(_: Sequence[Any]) -> list[Any]:
        return []

    return await CommandConsumer(run)(records)


async def versions(records: Sequence[Any]) -> list[Poison | None]:
    return read_each(records, _version_in)[1]


def record(headers: dict[str, str]) -> Any:
    found = [(name, text.encode()) for name, text in headers.items()]
    return SimpleNamespace(topic="t", partition=0, offset=0, key=b"ord_1", value=b'{"tip_minor": -1}', headers=found)


@pytest.mark.parametrize("consume", [commands, versions])
async def test_a_poisoned_batch_leaves_no_cycles(consume: Consume) -> None:
    whole = {
        "ce_specversion": "1.0",
        "ce_id": "1",
        "ce_type": "orders.set_tip.v1",
        "ce_source": "/tests",
        "ce_merchantid": "mer_1",
        "ce_environment": "test",
    }
    await consume([record(whole), record({})])
    gc.collect()
    gc.disable()
    try:
        reasons = [poison.reason for poison in await consume([record(whole), record({})] * 100)]
        assert set(reasons) == {"INVALID_BODY", "NOT_A_CLOUDEVENT"}
        assert gc.collect() < 100
    finally:
        gc.enable()
