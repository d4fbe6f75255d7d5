"""Commands from Kafka: unwrap, hand over to the write path, acknowledge by returning."""

from collections.abc import Sequence
from functools import lru_cache

from pydantic import ValidationError

from services.orders.core.state import Order
from shared.contracts.model import Actor
from shared.contracts.order_commands import OrderCommand
from shared.contracts.orders import COMMANDS
from shared.envelope import Envelope, decode, tenant_of
from shared.faults import Poison
from shared.kafka import Record
from shared.processor import Incoming, Runner

UNKNOWN_TYPE = "UNKNOWN_TYPE"
MISSING_KEY = "MISSING_KEY"
KEY_MISMATCH = "KEY_MISMATCH"
INVALID_BODY = "INVALID_BODY"
COMMAND_ID_TOO_LONG = "COMMAND_ID_TOO_LONG"

_LONGEST_ID = 68
"""What `Identifier` allows after `ord_`."""
_LONGEST_COMMAND_ID = 200
"""The reply's own id is made from it, and must fit what readers of CloudEvents accept."""


def incoming_of(record: Record) -> Incoming[OrderCommand]:
    """The command in a record of `orders.commands`; raises `Poison` with the reason when there is none."""
    envelope = decode(record.headers, record.key, record.value)
    key = _order_id(envelope)
    if len(envelope.id) > _LONGEST_COMMAND_ID:
        raise Poison(COMMAND_ID_TOO_LONG, f"a command's ce_id has at most {_LONGEST_COMMAND_ID} characters")
    command_class = COMMANDS.get(envelope.type)
    if command_class is None:
        raise Poison(UNKNOWN_TYPE, f"no command has the type {envelope.type[:100]}")
    merchant_id, environment = tenant_of(envelope)
    try:
        command = command_class.model_validate_json(envelope.data)
    except ValidationError as error:
        raise Poison(INVALID_BODY, _what_is_wrong(error)) from None
    return Incoming(
        command_id=envelope.id,
        key=key,
        command=command,
        merchant_id=merchant_id,
        environment=environment,
        actor=_actor(envelope.actor, envelope.source),
        source=envelope.source,
        channel=envelope.source.rpartition("/")[2] or None,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
    )


def _order_id(envelope: Envelope) -> str:
    key = envelope.key
    if not key:
        raise Poison(MISSING_KEY, "a command's key is the order id")
    if envelope.subject not in (None, key):
        raise Poison(KEY_MISMATCH, "key and ce_subject name different orders")
    if not key.startswith("ord_") or len(key) > _LONGEST_ID or not key[4:].isalnum() or not key.isascii():
        raise Poison(KEY_MISMATCH, "the key is no order id")
    return key


@lru_cache(maxsize=10_000)
def _actor(actor: str | None, source: str) -> Actor:
    """Who caused it, else the sending service."""
    kind, _, actor_id = (actor or "").partition(":")
    try:
        return Actor(type=kind, id=actor_id)
    except ValidationError:
        return Actor(type="service", id=source[:200])


def _what_is_wrong(error: ValidationError) -> str:
    """The path and kind of each fault; never the value, which may be anything."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults[:5])


class CommandConsumer:
    """Handles batches of `orders.commands`: all effects are durable when it returns."""

    def __init__(self, run: Runner[OrderCommand, Order]) -> None:
        self._run = run

    async def __call__(self, records: Sequence[Record]) -> list[Poison | None]:
        results: list[Poison | None] = []
        batch: list[Incoming[OrderCommand]] = []
        for record in records:
            try:
                batch.append(incoming_of(record))
                results.append(None)
            except Poison as poison:
                results.append(poison.bare())
        if batch:
            await self._run(batch)
        return results
