"""What is acknowledged is there, once, whole and in order."""

import asyncio

import pytest
from aiokafka.errors import ProducerClosed

from shared.relay import partition_of
from shared.topics import TopicSpec
from tests.contract.kafka.places import Place, on_both, values

_BATCH = {"max_batch_size": 4_000}


@on_both
async def test_a_batch_is_appended_whole_and_in_order(kafka: Place) -> None:
    topic = await kafka.topic(2)
    one, other = await kafka.producer(), await kafka.producer()
    acknowledgements = []
    for first in range(0, 30, 10):
        for sender, mark in ((one, b"a"), (other, b"b")):
            batch = sender.create_batch()
            for number in range(first, first + 10):
                assert batch.append(key=b"k", value=mark + b"%d" % number, timestamp=None, headers=[]) is not None
            acknowledgements.append(await sender.send_batch(batch, topic, partition=1))
    await asyncio.gather(*acknowledgements)
    found = await kafka.whole(topic)
    assert [(partition, offset) for partition, offset, _ in found] == [(1, offset) for offset in range(60)]
    texts = [value or b"" for _, _, value in found]
    for mark in (b"a", b"b"):
        assert [text for text in texts if text.startswith(mark)] == [mark + b"%d" % number for number in range(30)]
    tens = [texts[first : first + 10] for first in range(0, 60, 10)]
    assert all(len({text[:1] for text in ten}) == 1 for ten in tens), "nothing comes in between"


@on_both
async def test_a_full_batch_takes_nothing_more_and_goes_as_it_is(kafka: Place) -> None:
    topic = await kafka.topic()
    sender = await kafka.producer(**_BATCH)
    batch, number = sender.create_batch(), 0
    while batch.append(key=None, value=b"%03d" % number + b"." * 997, timestamp=None, headers=[]) is not None:
        number += 1
    assert number == 3
    assert batch.append(key=None, value=b"small", timestamp=None, headers=[]) is None, "it is closed"
    await (await sender.send_batch(batch, topic, partition=0))
    assert [value[:3] for _, _, value in await kafka.whole(topic) if value] == [b"000", b"001", b"002"]


@on_both
async def test_a_batch_takes_its_first_record_whatever_its_size(kafka: Place) -> None:
    topic = await kafka.topic()
    sender = await kafka.producer(**_BATCH)
    batch = sender.create_batch()
    assert batch.append(key=None, value=b"x" * 9_000, timestamp=None, headers=[]) is not None
    assert batch.append(key=None, value=b"y", timestamp=None, headers=[]) is None
    await (await sender.send_batch(batch, topic, partition=0))
    assert [len(value or b"") for _, _, value in await kafka.whole(topic)] == [9_000]


@on_both
async def test_a_key_is_always_in_the_partition_that_the_relay_reckons(kafka: Place) -> None:
    topic = await kafka.topic(5)
    sender = await kafka.producer()
    assert await sender.partitions_for(topic) == {0, 1, 2, 3, 4}
    keys = [b"", b"a", b"ord_1", "Bestellung \N{EURO SIGN}".encode(), *(b"%d" % number for number in range(20))]
    for key in keys:
        told = await sender.send_and_wait(topic, key=key, value=key)
        assert (told.topic, told.partition) == (topic, partition_of(key, 5))
    assert sorted(await kafka.whole(topic)) == sorted(
        (partition_of(key, 5), [each for each in keys if partition_of(each, 5) == partition_of(key, 5)].index(key), key)
        for key in keys
    )


@on_both
async def test_records_without_a_key_go_anywhere(kafka: Place) -> None:
    topic = await kafka.topic(3)
    sender = await kafka.producer()
    told = [await sender.send_and_wait(topic, value=b"v") for _ in range(60)]
    assert {each.partition for each in told} == {0, 1, 2}


@on_both
async def test_acknowledgements_name_the_offset(kafka: Place) -> None:
    topic = await kafka.topic()
    sender = await kafka.producer()
    acknowledgements = [await sender.send(topic, value=b"%d" % number, partition=0) for number in range(50)]
    assert [(await each).offset for each in acknowledgements] == list(range(50))
    batch = sender.create_batch()
    for _ in range(3):
        batch.append(key=None, value=b"v", timestamp=None, headers=[])
    assert (await (await sender.send_batch(batch, topic, partition=0))).offset == 50
    assert (await sender.send_and_wait(topic, value=b"v", partition=0)).offset == 53
    assert [offset for _, offset, _ in await kafka.whole(topic)] == list(range(54))


@on_both
async def test_keys_values_and_headers_come_as_they_were_sent(kafka: Place) -> None:
    topic = await kafka.topic()
    sender = await kafka.producer()
    with pytest.raises(AssertionError):
        await sender.send(topic, partition=0)
    headers = [("a", b"1"), ("a", b""), ("\N{EURO SIGN}", b"\xff\x00")]
    for key, value, more in ((b"k", None, []), (b"", b"", headers), (None, b"v", []), (b"\xff\x00", b"\x00", [])):
        await sender.send_and_wait(topic, key=key, value=value, headers=more, partition=0)
    reader = await kafka.consumer(topic, group=None)
    found: list[object] = []
    while len(found) < 4:
        for records in (await reader.getmany(timeout_ms=200)).values():
            found += [(record.topic, record.key, record.value, record.headers) for record in records]
    assert found == [
        (topic, b"k", None, ()),
        (topic, b"", b"", tuple(headers)),
        (topic, None, b"v", ()),
        (topic, b"\xff\x00", b"\x00", ()),
    ]


@on_both
async def test_stopping_sends_what_is_on_its_way_and_takes_nothing_more(kafka: Place) -> None:
    topic = await kafka.topic(3)
    sender = await kafka.producer()
    acknowledgements = [await sender.send(topic, value=b"%d" % number, partition=number % 3) for number in range(30)]
    await sender.stop()
    await sender.stop()
    assert all(acknowledged.done() for acknowledged in acknowledgements)
    assert len(await kafka.whole(topic)) == 30
    with pytest.raises(ProducerClosed):
        await sender.send(topic, value=b"late", partition=0)
    batch = sender.create_batch()
    batch.append(key=None, value=b"late", timestamp=None, headers=[])
    with pytest.raises(ProducerClosed):
        await sender.send_batch(batch, topic, partition=0)


@on_both
async def test_a_producer_that_is_abandoned_sends_nothing_more(kafka: Place) -> None:
    topic = await kafka.topic(2)
    sender = await kafka.producer()
    await sender.send_and_wait(topic, value=b"before", partition=0)
    unsent = await sender.send(topic, value=b"not begun", partition=0)
    await sender.abandon()
    await sender.abandon()
    with pytest.raises(ProducerClosed):
        await unsent
    with pytest.raises(ProducerClosed):
        await sender.send(topic, value=b"late", partition=0)
    assert [value for _, _, value in await kafka.whole(topic)] == [b"before"]


@on_both
async def test_a_producer_that_is_abandoned_tries_nothing_again(kafka: Place) -> None:
    topic = await kafka.topic(2)
    sender = await kafka.producer()
    await sender.send_and_wait(topic, value=b"before", partition=0)
    with kafka.cut_off(sender):
        unsent = [await sender.send(topic, value=b"%d" % number, partition=number % 2) for number in range(4)]
        await asyncio.sleep(0.3)
        assert not any(each.done() for each in unsent), "it tries for seconds"
        async with asyncio.timeout(2):
            await sender.abandon()
    for each in unsent:
        with pytest.raises(ProducerClosed):
            await each
    assert [value for _, _, value in await kafka.whole(topic)] == [b"before"]


@on_both
async def test_what_an_abandoned_producer_has_sent_is_answered(kafka: Place) -> None:
    topic = await kafka.topic()
    sender = await kafka.producer()
    await sender.send_and_wait(topic, value=b"before", partition=0)
    sent = await sender.send(topic, value=b"sent", partition=0)
    await asyncio.sleep(0.001)
    await sender.abandon()
    assert (await sent).offset == 1
    assert [value for _, _, value in await kafka.whole(topic)] == [b"before", b"sent"]


@on_both
async def test_what_nobody_waits_for_any_more_is_there_once(kafka: Place) -> None:
    topic = await kafka.topic()
    sender = await kafka.producer()
    for number in range(20):
        (await sender.send(topic, value=b"%d" % number, partition=0)).cancel()
    await sender.stop()
    assert [value for _, _, value in await kafka.whole(topic)] == [b"%d" % number for number in range(20)]


@on_both
async def test_topics_are_made_once_and_only_grow(kafka: Place) -> None:
    topic, admin = kafka.name(), kafka.process().admin(kafka.settings)
    sender = await kafka.producer()
    assert await admin.missing_topics([topic]) == {topic}
    for wanted, found in ((2, 2), (2, 2), (1, 2)):
        await admin.ensure_topics([TopicSpec(topic, wanted)])
        assert len(await sender.partitions_for(topic)) == found
    assert await admin.missing_topics([topic, f"{topic}.gone"]) == {f"{topic}.gone"}
    await sender.send_and_wait(topic, value=b"kept", partition=1)
    await admin.ensure_topics([TopicSpec(topic, 4)])
    reader = await kafka.consumer(topic, group=None)
    assert reader.partitions_for_topic(topic) == {0, 1, 2, 3}
    assert await values(reader, 1) == [b"kept"]
