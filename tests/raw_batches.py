"""Record batches that the client library does not make by itself, as clients of other languages send them."""

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

Raw = tuple[bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]
"""Key, value and headers of a record."""

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_BATCH_BYTES = 1024 * 1024


class NotUtf8(str):
    """A header's name that is written as these bytes."""

    raw: bytes

    def __new__(cls, shown: str, raw: bytes = b"\xff") -> "NotUtf8":
        made = super().__new__(cls, shown)
        made.raw = raw
        return made

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.raw


def raw_batch(producer: AIOKafkaProducer, *records: Raw, codec: str = "none") -> Any:
    """A batch to send, made by the library's builder in Python, which checks less than the compiled one."""
    batch = producer.create_batch()
    batch._builder = _DefaultRecordBatchBuilderPy(2, CODECS[codec], 0, -1, -1, -1, _BATCH_BYTES)
    for key, value, headers in records:
        batch.append(key=key, value=value, timestamp=None, headers=headers)
    return batch
