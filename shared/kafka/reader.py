"""A consumer client that any broker lets into its group, and that any record can be read with."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, InvalidSessionTimeoutError, KafkaError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint_py
from aiokafka.structs import ConsumerRecord

LEAST_SESSION_MS = 6_000
"""The shortest session time-out that a broker takes by default."""

_BATCH_HEAD = 12
"""Bytes of a record batch before those that its length counts: the base offset and the length itself."""

_WAIT_MS = 100
"""For a first record, however little the caller wants to wait: FastStream looks away after a wait for nothing, for as
long as it waited, and whatever came meanwhile would be late."""

log = structlog.get_logger(__name__)


class Reader(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer, which fetches when it is asked, with a second way to read.

    aiokafka fetches ahead: whatever came first after the last records were taken lies ready, and all that came later
    waits in Kafka until that is taken. Under an even load every other batch would be one of a record or two, at the
    price of a whole one. Where a batch took all there was, nothing is fetched until the next one is asked for.

    A header name that is not UTF-8, which brokers accept from any client, makes aiokafka raise `UnicodeDecodeError`,
    drop what the same call has taken from other partitions, whose positions have moved on, and raise again for ever.
    """

    _closed: bool

    async def start(self) -> None:
        """As aiokafka's; a broker that refuses the session time-out is asked for the least that brokers allow."""
        try:
            await super().start()
        except InvalidSessionTimeoutError:
            wanted = self._coordinator._session_timeout_ms
            if wanted >= LEAST_SESSION_MS:
                raise
            log.warning("session_timeout_refused", wanted_ms=wanted, used_ms=LEAST_SESSION_MS, group=self._group_id)
            self._coordinator._session_timeout_ms = LEAST_SESSION_MS
            await self._join_again()

    async def _join_again(self) -> None:
        # The coordinator waits until somebody has seen its error.
        with suppress(InvalidSessionTimeoutError):
            self._coordinator.check_errors()
        await self._subscription.wait_for_assignment()

    async def stop(self) -> None:
        """As aiokafka's; what had ended with an error keeps nothing else from being closed."""
        if self._closed:
            return
        self._closed = True
        for part in (self._coordinator, self._fetcher, self._client):
            try:
                if part is not None:
                    await part.close()
            except KafkaError as failure:
                log.warning("reader_had_ended", part=type(part).__name__, failure=repr(failure))
            except asyncio.CancelledError:
                if (stopping := asyncio.current_task()) is not None and stopping.cancelling():
                    raise
                # Not we were canceled, but a fetch that had failed and waited: aiokafka lets it end its own closing.
                await self._end_fetches()

    async def _end_fetches(self) -> None:
        fetches = list(self._fetcher._pending_tasks)
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[Any]]:
        """As aiokafka's, for any record; bytes that are not UTF-8 become lone surrogates in a header's name.

        Raises `ConsumerStoppedError` once the task that fetches has ended, where aiokafka's gives nothing, for ever.
        """
        if self._fetcher.error_future.done():
            raise ConsumerStoppedError
        self.resume(*self.paused())
        before = self._positions()
        timeout_ms = max(timeout_ms, _WAIT_MS)
        try:
            taken: dict[TopicPartition, list[Any]] = await super().getmany(
                *partitions, timeout_ms=timeout_ms, max_records=max_records
            )
        except UnicodeDecodeError:
            log.warning("header_name_not_utf8", partitions=len(before))
            await self._rewind(before)
            return await self._read_leniently(max_records or 1)
        if taken and (max_records is None or sum(map(len, taken.values())) < max_records):
            self.pause(*self.assignment())
        return taken

    def _positions(self) -> dict[TopicPartition, int]:
        subscription = self._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return {}
        states = {tp: subscription.assignment.state_value(tp) for tp in subscription.assignment.tps}
        return {tp: state.position for tp, state in states.items() if state.has_valid_position}

    async def _rewind(self, before: Mapping[TopicPartition, int]) -> None:
        for tp in self.assignment():
            start = before[tp] if tp in before else await self.committed(tp)
            if start is None:
                await self.seek_to_beginning(tp)
            else:
                self.seek(tp, start)

    async def _read_leniently(self, max_records: int) -> dict[TopicPartition, list[Any]]:
        """What is next in each partition, up to `max_records` from each."""
        records = {}
        for tp, position in self._positions().items():
            if (self.highwater(tp) or 0) <= position:
                continue
            data = await self._fetch(tp, position)
            taken = [record for _, record in zip(range(max_records), lenient_records(tp, data, position), strict=False)]
            # A rebalance may have come in between: whoever has the partition now begins at what is committed.
            if taken and self._positions().get(tp) == position:
                self.seek(tp, taken[-1].offset + 1)
                records[tp] = taken
        return records

    async def _fetch(self, tp: TopicPartition, position: int) -> bytes:
        leader = self._client.cluster.leader_for_partition(tp)
        wanted = [(tp.topic, [(tp.partition, position, self._max_partition_fetch_bytes)])]
        request = FetchRequest(self._fetch_max_wait_ms, 1, self._fetch_max_bytes, 0, wanted, rack_id="")
        response = await self._client.send(leader, request)
        # An error comes with no data; the ordinary way of reading meets it again and deals with it.
        return bytes(response.topics[0][1][0][-1] or b"")


def lenient_records(tp: TopicPartition, data: bytes, position: int) -> Iterator[Any]:
    """The records from `position` on in what a broker answered; its last batch may be cut off."""
    start = 0
    while (end := start + _BATCH_HEAD + int.from_bytes(data[start + 8 : start + _BATCH_HEAD])) <= len(data):
        if end <= start + _BATCH_HEAD:
            return
        batch = _DefaultRecordBatchPy(data[start:end])
        start = end
        if not batch.is_control_batch:
            yield from (record for record in _of_batch(tp, batch) if record.offset >= position)


def _of_batch(tp: TopicPartition, batch: Any) -> Iterator[Any]:
    batch._maybe_uncompress()
    batch._buffer = _Lenient(batch._buffer)
    for _ in range(batch._num_records):
        found = batch._read_msg(decode_varint_py)
        sizes = (len(found.key or b""), len(found.value or b""))
        yield ConsumerRecord(
            tp.topic,
            tp.partition,
            found.offset,
            found.timestamp,
            found.timestamp_type,
            found.key,
            found.value,
            found.checksum,
            *sizes,
            tuple(found.headers),
        )


class _Lenient(bytes):
    """Bytes that decode to text whatever they are."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return _Lenient(part) if isinstance(part, bytes) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "surrogateescape")
